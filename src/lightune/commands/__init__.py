"""What ``lightune`` can do, a module a command: ``add`` adds it to the command line.

torch and transformers take seconds to import: each command imports what it needs when it runs.
"""

import argparse
from typing import TypeAlias

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
