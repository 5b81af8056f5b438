"""``python -m blurgate`` is the command ``blurgate``."""

from blurgate.cli import main

main()
