from pathlib import Path

import pytest

from lightune.common.errors import UserError
from lightune.config.safe_paths import check_choices, check_inside, check_names


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/x", "a\0b", ".."])
def test_a_name_that_leads_out_is_refused(name: str, tmp_path: Path):
    with pytest.raises(UserError, match=r"is refused: it leads out of"):
        check_inside("hydra.sweep.subdir", name, folder=str(tmp_path))
    with pytest.raises(UserError, match=r"^model="):
        check_choices({"data": "imdb", "model": name})
    for group, node, arguments in (
        ("logger", "csv", {"save_dir": str(tmp_path), "name": name}),
        ("logger", "csv", {"save_dir": str(tmp_path), "name": "", "version": name}),
        ("callbacks", "checkpoint", {"dirpath": str(tmp_path), "filename": name}),
    ):
        with pytest.raises(UserError, match=rf"^{group}\.{node}\."):
            check_names({group: {node: arguments}})


@pytest.mark.parametrize("name", ["", "a", "a/b", "a/../b", "..a", "{epoch}-{step}", "0"])
def test_a_name_that_stays_inside_is_taken(name: str, tmp_path: Path):
    check_inside("hydra.sweep.subdir", name, folder=str(tmp_path))
    check_choices({"data": name, "experiment": None, "several": ["a", name]})
    check_names({"logger": {"csv": {"save_dir": str(tmp_path), "name": name, "version": 3}}, "callbacks": None})
