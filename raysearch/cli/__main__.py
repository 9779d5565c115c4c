"""``python -m raysearch.cli``."""

from raysearch.cli.main import main

main()
