"""``python -m lightune`` is the command ``lightune``."""

from lightune.commands.cli import main

main()
