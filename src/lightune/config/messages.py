"""Turn a mistake on the command line into a message of a few lines."""

import os
import re
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, InstantiationException, MissingConfigException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lightune.common.errors import UserError, did_you_mean, listed, nearest
from lightune.config import credentials
from lightune.config.nested import flat
from lightune.config.own_packages import conf_folders

# Hydra raises instead of printing: friendly_errors prints
os.environ.setdefault("HYDRA_FULL_ERROR", "1")


@contextmanager
def friendly_errors(conf: Path | None = None) -> Iterator[None]:
    """Print a user's mistake in a few lines and exit with 1; bugs keep their traceback.

    ``conf`` is the folder of the configuration groups, for the nearest valid names.
    """
    for stream in (sys.stdout, sys.stderr):
        # what a terminal or a pipe that is not UTF-8 cannot show must not end a run
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        yield
    except UserError as error:
        message = str(error)
    except InstantiationException as error:
        if not isinstance(error.__cause__, UserError):
            raise
        message = str(error.__cause__)
    except (HydraException, OmegaConfBaseException) as error:
        message = _explain(error, conf)
    except ValueError as error:
        # model=null, data=1
        if not str(error).startswith("Config group override must be"):
            raise
        nulls = [argument for argument in sys.argv[1:] if re.search(r"=(?:.*,)?null(?:,|$)", argument)]
        message = (
            f"A group is chosen by one of its names{f', in {listed(nulls)} too' if nulls else ''}: {error}.\n"
            "Leave it out for the default. All: python train.py --help"
        )
    else:
        return
    if int(os.environ.get("LOCAL_RANK", "0")):
        # the first process most likely prints the same message, and its end ends this one
        time.sleep(5)
    message = credentials.redact(message)
    print(f"error: {message}", file=sys.stderr)
    # the cause is for a launcher, which passes it to the process of the sweep
    raise SystemExit(1) from UserError(message)


def _explain(error: Exception, conf: Path | None) -> str:
    text = str(error).strip()
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        group, _, name = error.missing_cfg_file.rpartition("/")
        return f"There is no {group}={name}. {nearest(name, error.options)}"
    if isinstance(error, OverrideParseException):
        name, _, value = error.override.partition("=")
        escaped = value.replace('"', '\\"')
        example = f'{name}="{escaped}"' if escaped else 'data.path="a, b.csv"'
        return (
            f"Cannot read {error.override!r}.\n"
            "Text needs quotes of its own where it holds letters outside ASCII, or one of , = # ~ ( ) [ ] { } ' \".\n"
            f"Write {shlex.quote(example)}"
        )
    if conf is not None and (override := re.match(r"Could not (?:override|delete from config\.) '([^']+)'", text)):
        key = override.group(1)
        names = _known_names(conf)
        beside = [name for name in names if name.rpartition(".")[0] == key.rpartition(".")[0]]
        return (
            f"There is no option or group {key!r}. {did_you_mean(key, names)}\n"
            f"Beside it there are: {listed(beside or names, limit=30)}. All: python train.py --help"
        )
    if unset := re.search(r"Environment variable '([^']*)' not found.*\n\s+full_key: (\S+)", text):
        name, option = unset.groups()
        return (
            f"{option} takes the environment variable {name}, which is not set.\n"
            f"Write {name}=VALUE before the command or in a .env file, or give a default: ${{oc.env:{name},VALUE}}"
        )
    gone = re.search(r"Interpolation key '([^']+)' not found|Key '[^']+' is not in struct\n\s+full_key: (\S+)", text)
    if gone:
        return (
            f"{gone.group(1) or gone.group(2)} is not in the configuration, and a run needs it.\n"
            "Leave out what takes it away, such as ~NAME. All options: python train.py --help"
        )
    if missing := re.search(r"Missing mandatory value: (\S+)", text):
        return f"{missing.group(1)} is not set.\nSet it on the command line: {missing.group(1)}=VALUE"
    return "\n".join(line for line in text.splitlines()[:4] if line.strip())


def _known_names(conf: Path) -> list[str]:
    """Return all groups and all options of the default configuration."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(conf), version_base="1.3"):
        cfg = OmegaConf.to_container(compose("train"))
    groups = sorted({folder.name for one in (conf, *conf_folders()) for folder in one.iterdir() if folder.is_dir()})
    return groups + [name for name, _ in flat(cfg) if not name.rpartition(".")[2].startswith("_")]
