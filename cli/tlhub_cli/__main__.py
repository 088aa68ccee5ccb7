"""`python -m tlhub_cli` is `tlhub`."""

from __future__ import annotations

from tlhub_cli.main import main

main()
