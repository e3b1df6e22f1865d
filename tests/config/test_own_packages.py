"""Packages of one's own: which may be called, where their YAML is found, and what may not vouch for them."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT
from hydra import compose, initialize_config_dir

from lightune.common.errors import UserError
from lightune.config import guarded_command_line
from lightune.config.allowed_targets import check_hydra_targets, check_targets
from lightune.config.own_packages import PROJECT, conf_folders, own_packages

HEADS = "import os\nfrom torch import load\nclass Head: ...\n"


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Forget what a test imports, and where it was found."""
    monkeypatch.delenv(PROJECT, raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name in [name for name in sys.modules if name.partition(".")[0].startswith("acme")]:
        del sys.modules[name]


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def project(folder: Path, *, package: str = "acme", source: str = "src/") -> Path:
    return write(
        folder,
        {
            "pyproject.toml": f'[tool.lightune]\npackages = ["{package}"]\n',
            f"{source}{package}/__init__.py": "from acme.heads import Head\n" if package == "acme" else "",
            f"{source}{package}/heads.py": HEADS,
            "conf/optimizer/own.yaml": "momentum: 0.5\n",
        },
    )


def install(monkeypatch: pytest.MonkeyPatch, site: Path, *, module: str) -> None:
    """Put what an installer writes of a package that registers itself into a folder of installed packages."""
    entry = f"[lightune]\nanything = {module}\n"
    write(site, {"acme-1.0.dist-info/METADATA": "Name: acme\n", "acme-1.0.dist-info/entry_points.txt": entry})
    monkeypatch.syspath_prepend(str(site))


def call(target: str) -> None:
    check_targets({"task": {"head": {"_target_": target}}})


@pytest.mark.parametrize("source", ["src/", ""])
def test_what_the_projects_packages_define_may_be_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str):
    monkeypatch.chdir(write(project(tmp_path, source=source) / "notebooks", {"x.txt": ""}))
    call("acme.heads.Head")
    call("acme.Head")
    check_hydra_targets({"callbacks": {"mine": {"_target_": "acme.heads.Head"}}})
    assert conf_folders() == [tmp_path / "conf"]


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("acme.heads.load", "{here}/src/acme/heads.py does not define it. Available: Head."),
        ("acme.heads.os.system", "No module named 'acme.heads.os'"),
        ("acme.heads.Hed", "Did you mean 'Head'?"),
        ("acme.gone.Head", "No module named 'acme.gone'.\nLooked in {here} and"),
        ("acme.gone.Head", "pip install -e {here}"),
        ("acmeology.Head", "a configuration may call lightune's own classes"),
        ("acme", "a configuration may call"),
        ("lightune.train.main", "a configuration may call"),
        ("os.system", 'packages = ["os"]'),
    ],
)
def test_nothing_else_may_be_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, reason: str):
    monkeypatch.chdir(project(tmp_path))
    for check in (call, lambda target: check_hydra_targets({"callbacks": {"x": {"_target_": target}}})):
        with pytest.raises(UserError) as refused:
            check(target)
        message = str(refused.value)
        assert f"_target_={target} is refused: " in message and len(message.splitlines()) <= 5
        assert reason.format(here=tmp_path) in message


@pytest.mark.parametrize("mark", ["run/.hydra/config.yaml", "run/multirun.yaml"])
@pytest.mark.parametrize("here", ["run", "run/0/inner"])
def test_the_folder_of_a_run_or_a_sweep_does_not_vouch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mark: str, here: str
):
    write(tmp_path, {mark: ""})
    monkeypatch.chdir(project(tmp_path / here))
    assert conf_folders() == [] and own_packages() == []
    with pytest.raises(UserError, match="is refused"):
        call("acme.heads.Head")
    assert "acme.heads" not in sys.modules
    # what the person's own project says still holds there
    project(tmp_path, package="acme_mine")
    assert own_packages() == ["acme_mine"]


def test_the_project_is_decided_where_the_person_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(project(tmp_path / "mine"))
    project(tmp_path / "other", package="acme_other")
    with guarded_command_line():
        monkeypatch.chdir(tmp_path / "other")
        assert os.environ[PROJECT] == str(tmp_path / "mine") and own_packages() == ["acme"]
    assert PROJECT not in os.environ and own_packages() == ["acme_other"]
    monkeypatch.chdir(tmp_path)
    with guarded_command_line():
        monkeypatch.chdir(tmp_path / "other")
        assert own_packages() == []


def test_a_person_may_name_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    project(tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(PROJECT, "mine")
    with guarded_command_line():
        monkeypatch.chdir("/")
        call("acme.heads.Head")
    monkeypatch.setenv(PROJECT, "gone")
    with (
        pytest.raises(UserError, match=r"gone has no pyproject"),
        guarded_command_line(),
    ):
        pass


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[tool.lightune", "cannot be read"),
        ("\xff", "cannot be read"),
        ("[tool.lightune]\npackages = 'acme'", "Expected packages = "),
        ("[tool.lightune]\npackages = ['acme-reviews']", "Expected packages = "),
        ("[tool.lightune]\npackages = [1]", "Expected packages = "),
        ("[tool.lightune]\npackage = ['acme']", "Expected packages = "),
        ("[tool]\nlightune = ['acme']", "Expected packages = "),
    ],
)
def test_a_pyproject_that_cannot_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, reason: str
):
    (tmp_path / "pyproject.toml").write_text(text, encoding="latin-1")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=reason) as raised:
        own_packages()
    assert str(tmp_path / "pyproject.toml") in str(raised.value)


def test_the_pyproject_of_another_kind_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    project(tmp_path)
    monkeypatch.chdir(write(tmp_path / "inner", {"pyproject.toml": "[tool.ruff]\n"}))
    assert own_packages() == ["acme"]


def test_an_installed_package_registers_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write(tmp_path, {"acme/__init__.py": "", "acme/heads.py": HEADS, "acme/conf/optimizer/own.yaml": "lr: 1.0"})
    install(monkeypatch, tmp_path, module="acme")
    call("acme.heads.Head")
    assert conf_folders() == [tmp_path / "acme" / "conf"]


def test_a_package_inside_another_has_a_conf_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write(tmp_path, {"acme/reviews/heads.py": HEADS, "acme/reviews/conf/x.yaml": "", "acme/conf/x.yaml": ""})
    install(monkeypatch, tmp_path, module="acme.reviews")
    assert conf_folders() == [tmp_path / "acme" / "reviews" / "conf"]
    call("acme.reviews.heads.Head")
    write(tmp_path, {"acme/other.py": HEADS})
    with pytest.raises(UserError, match="is refused: a configuration may call"):
        call("acme.other.Head")


def test_a_package_under_development_has_its_conf_beside_its_pyproject(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    install(monkeypatch, tmp_path / "site", module="acme")
    monkeypatch.syspath_prepend(str(project(tmp_path / "mine") / "src"))
    assert conf_folders() == [tmp_path / "mine" / "conf"]
    # what is registered and is not there has no YAML
    install(monkeypatch, tmp_path / "site", module="acme_gone.deep")
    assert conf_folders() == []


def test_own_yaml_is_found_before_the_shipped_and_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write(project(tmp_path), {"conf/scheduler/linear.yaml": "_target_: acme.heads.Head"})
    monkeypatch.chdir(tmp_path)

    def composed(conf: Path, name: str, *overrides: str) -> dict:
        with initialize_config_dir(str(conf), version_base="1.3"):
            return compose(name, list(overrides), return_hydra_config=True)

    cfg = composed(ROOT / "conf", "train", "optimizer=own")
    assert cfg.optimizer.momentum == 0.5 and cfg.scheduler._target_ == "acme.heads.Head"
    providers = [source.provider for source in cfg.hydra.runtime.config_sources]
    assert providers == ["hydra", "lightune", "main", "schema"]
    write(tmp_path, {"conf/alone.yaml": "a: 1"})
    providers = [one.provider for one in composed(tmp_path / "conf", "alone").hydra.runtime.config_sources]
    assert providers == ["hydra", "main", "schema"]
