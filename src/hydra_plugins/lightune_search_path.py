"""YAML of one's own joins the shipped; Hydra looks for such plugins in ``hydra_plugins`` only."""

from pathlib import Path

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin

from lightune.config.own_packages import conf_folders


class OwnConf(SearchPathPlugin):
    """Look into one's own folders before the main one, so that a YAML there replaces the shipped one of that name."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        main = [
            Path(one.path.removeprefix("file://")).resolve() for one in search_path.get_path() if one.provider == "main"
        ]
        for folder in [folder for folder in conf_folders() if folder not in main]:
            search_path.prepend("lightune", f"file://{folder}", anchor="main")
