"""``lightune new``: a project of one's own, whose later changes ``lightune update`` brings in."""

import argparse
import json
import keyword
import subprocess
from importlib.metadata import distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlparse
from urllib.request import url2pathname

from lightune.commands import Commands
from lightune.common.errors import UserError


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("new", help="write a project of your own: data, head, loss, metric, tests")
    parser.add_argument("folder", type=Path, metavar="NAME", help="its folder and package, such as acme_reviews")
    usage = "git repository of lightune that the project depends on; default: where this one was installed from"
    parser.add_argument("--source", metavar="REPOSITORY", help=usage)
    parser.set_defaults(command=_run)


def _run(arguments: argparse.Namespace) -> None:
    folder, name = arguments.folder, arguments.folder.name
    if not name.isidentifier() or keyword.iskeyword(name) or name != name.lower():
        raise UserError(f"{name!r}: expected a name that Python can import, in small letters, such as acme_reviews.")
    if folder.exists():
        raise UserError(f"{folder} exists already, and is left as it is. Choose another name.")
    if find_spec(name) is not None:
        raise UserError(f"{name} is the name of a package that is installed here. Choose another.")
    source = arguments.source or installed_from()
    if Path(source).expanduser().is_dir():
        # updates start elsewhere
        source = str(Path(source).expanduser().resolve())
    render("run_copy", source, dst_path=folder, data={"package": name, "lightune": requirement(source)})
    print(f"{folder}: cd {folder} && make train")


def installed_from() -> str:
    """Return the folder or the git repository that this package was installed from.

    Raises:
        UserError: neither is known.
    """
    origin = json.loads(distribution("lightune").read_text("direct_url.json") or "{}")
    url = urlparse(origin.get("url", ""))
    if "vcs_info" not in origin and not (url.scheme == "file" and Path(url2pathname(url.path), "copier.yml").is_file()):
        raise UserError("lightune was not installed from its repository. Name one: --source REPOSITORY")
    return url2pathname(url.path) if url.scheme == "file" else str(origin["url"])


def requirement(source: str) -> str:
    """Return what pip installs a repository's newest commit by, or the folder where that is no repository."""
    folder, source = Path(source), source.removeprefix("git+")
    # pip asks for a host
    address = folder.as_uri().replace("file://", "file://localhost") if folder.is_dir() else source
    asked = subprocess.run(["git", "ls-remote", source, "HEAD"], capture_output=True, text=True)
    if asked.returncode == 0 and asked.stdout:
        return f"lightune @ git+{address}@{asked.stdout.split()[0]}"
    if folder.is_dir():
        return f"lightune @ {folder.as_uri()}"
    raise UserError(f"{source} cannot be read: {asked.stderr.strip().splitlines()[-1]}")


def render(function: str, *arguments: Any, **options: Any) -> None:
    """Call a function of copier.

    Raises:
        UserError: copier is not installed, or refuses.
    """
    try:
        import copier
        from copier.errors import CopierError
    except ImportError as error:
        raise UserError("This needs copier, which is not installed: pip install 'copier>=9.11'") from error
    try:
        getattr(copier, function)(*arguments, vcs_ref="HEAD", defaults=True, quiet=True, **options)
    except (CopierError, subprocess.CalledProcessError, OSError, ValueError) as error:
        raise UserError(f"The template cannot be used: {str(error).strip().splitlines()[0][:300]}") from error
