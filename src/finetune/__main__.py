"""``python -m finetune`` is the command ``finetune``."""

from finetune.cli import main

main()
