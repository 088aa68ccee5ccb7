"""A Hub on the loopback for tests: real enough for unmodified clients, and it fails when told to.

`server` starts it and says what a test can do; `store` keeps repositories as git does; `endpoints` speaks the
protocol; `xet` is the chunk store that `hf_xet` uploads to; `faults` are what can go wrong on the way.
"""
