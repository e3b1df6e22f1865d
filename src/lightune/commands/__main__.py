"""``python -m lightune.commands`` is the command ``lightune``."""

from lightune.commands.cli import main

main()
