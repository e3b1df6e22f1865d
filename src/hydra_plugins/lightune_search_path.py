"""YAML of one's own joins the shipped; Hydra looks for such plugins in ``hydra_plugins`` only."""

from pathlib import Path

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin

from lightune.config.own_packages import conf_folders


class OwnConf(SearchPathPlugin):
    """Look into the folders of one's own packages before the main one: a YAML there replaces that of the same name."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        paths = [one.path.removeprefix("file://") for one in search_path.get_path() if one.provider == "main"]
        for folder in conf_folders():
            if folder not in [Path(path).resolve() for path in paths]:
                search_path.prepend("lightune", f"file://{folder}", anchor="main")
