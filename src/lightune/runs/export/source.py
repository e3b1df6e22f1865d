"""The pretrained model and the data set of a run, as its model card names them."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from lightune.common import package_index

HUB_NAME = re.compile(r"[\w.-]+(?:/[\w.-]+)?")


class Source(NamedTuple):
    """A pretrained model or a data set: its name for people, and its name and license on the Hub, where known."""

    name: str
    hub_name: str | None = None
    license_name: str | None = None


def source_of_model(model: Mapping[str, Any]) -> Source:
    """Return the pretrained model that a configuration's ``model`` names."""
    name = model["pretrained_model_name_or_path"]
    if model["from_run"] is not None:
        return Source(f"the run {Path(model['from_run']).name}")
    if name.startswith(package_index.PREFIX):
        artifact = package_index.ARTIFACTS[name.removeprefix(package_index.PREFIX)]
        return Source(artifact.hub_name or name, artifact.hub_name, artifact.license_name)
    return Source(name, name) if _is_on_hub(name) else Source(Path(name).name)


def source_of_data(path: str | Mapping[str, str]) -> Source:
    """Return the data set; of local files their names alone."""
    if not isinstance(path, str):
        return Source(", ".join(Path(file).name for file in path.values() if file))
    if path.startswith(package_index.PREFIX):
        return Source(path.removeprefix(package_index.PREFIX))
    return Source(path, path) if _is_on_hub(path) else Source(Path(path).name)


def _is_on_hub(name: str) -> bool:
    return HUB_NAME.fullmatch(name) is not None and not Path(name).exists() and not Path(name).suffix
