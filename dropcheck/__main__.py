"""``python -m dropcheck``."""

from dropcheck.cli import main

main()
