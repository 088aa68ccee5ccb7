"""The command line of tlhub: one file per command."""
