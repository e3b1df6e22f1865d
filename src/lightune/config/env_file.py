"""The variables of a ``.env`` file."""

import os
import re
import sys
from pathlib import Path

from dotenv.main import DotEnv

from lightune.common.errors import UserError

# they decide which code runs, or which process may end this one
VOUCHING = re.compile(r"LIGHTUNE_(?!CACHE$|SERVE_TOKEN$).*|PATH|(PYTHON|LD_|DYLD_).*")


def read_env_file() -> None:
    """Set the variables of ``.env`` in the current folder that are not set yet, but for those that vouch for code.

    Raises:
        UserError: the file cannot be read.
    """
    file = Path.cwd() / ".env"
    # a run's folder may come from others
    if not file.is_file() or (file.parent / ".hydra").is_dir():
        return
    try:
        for name, value in DotEnv(file, encoding="utf-8", override=False).dict().items():
            if VOUCHING.fullmatch(name) and name not in os.environ:
                print(f"warning: {file} may not set {name}: it vouches for code. Set it in the shell.", file=sys.stderr)
            elif value is not None:
                os.environ.setdefault(name, value)
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read: {error}.\nExpected lines such as NAME=value, in UTF-8.") from error
