"""``lightune new`` and ``lightune update``, with a repository of the template that later changes."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, command
from packaging.requirements import Requirement

from lightune.commands import cli

pytestmark = pytest.mark.slow

pytest.importorskip("copier")


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=A", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false"]
    return subprocess.run(
        ["git", *who, *arguments], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


def commit(folder: Path) -> str:
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "a version")
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository that holds the template."""
    folder = tmp_path_factory.mktemp("source") / "lightune"
    shutil.copytree(ROOT / "template", folder / "template")
    for name in ("copier.yml", "constraints.txt"):
        shutil.copy(ROOT / name, folder)
    commit(folder)
    return folder


@pytest.fixture(scope="module")
def project(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mine") / "clinic_notes"
    cli.main(["new", str(folder), "--source", str(source)])
    return folder


def test_a_new_project_depends_on_the_commit_that_it_was_made_by(source: Path, project: Path):
    pyproject = (project / "pyproject.toml").read_text()
    assert f"lightune @ git+file://localhost{source}@{git(source, 'rev-parse', 'HEAD')}" in pyproject
    Requirement(tomllib.loads(pyproject)["project"]["dependencies"][0])
    assert (project / "constraints.txt").read_text().strip() == (ROOT / "constraints.txt").read_text().strip()


def test_a_new_project_is_small_and_complete(project: Path):
    files = [file for file in project.rglob("*") if file.is_file()]
    assert len(files) <= 22
    assert not [file for file in files if "{{" in file.read_text() or "{{" in file.name]
    for name in ("dataset", "head", "metric"):
        assert len((project / f"src/clinic_notes/{name}.py").read_text().splitlines()) <= 40
    for file in project.rglob("*.y*ml"):
        yaml.safe_load(file.read_text())
    checked = subprocess.run([sys.executable, "-m", "ruff", "check", "."], cwd=project, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout
    formatted = subprocess.run([sys.executable, "-m", "ruff", "format", "--check", "."], cwd=project)
    assert formatted.returncode == 0


def test_its_tests_pass_where_it_is_installed(project: Path, tmp_path: Path):
    # as pip records it
    installed = tmp_path / "clinic_notes-0.1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: clinic_notes\nVersion: 0.1.0\n")
    (installed / "entry_points.txt").write_text("[lightune]\nclinic_notes = clinic_notes\n")
    path = os.pathsep.join([str(project / "src"), str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = command("-m", "pytest", "-p", "no:cacheprovider", cwd=project, PYTHONPATH=path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 passed" in done.stdout


def test_a_later_version_is_merged_with_what_a_person_changed(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    repository, mine = tmp_path / "repository", tmp_path / "clinic_notes"
    shutil.copytree(source, repository)
    cli.main(["new", str(mine), "--source", str(repository)])
    head = mine / "src/clinic_notes/head.py"
    head.write_text(head.read_text().replace("torch.relu", "torch.tanh"))
    (mine / "conf/data/clinic_notes.yaml").write_text("# @package _global_\ndata:\n  path: mine.csv\n")
    commit(mine)
    makefile = repository / "template/Makefile.jinja"
    makefile.write_text(makefile.read_text() + "\nlater: setup\n\techo later\n")
    template = repository / "template/src/{{ package }}/head.py"
    template.write_text(template.read_text().replace('"""A head and its loss."""', '"""A head, and its loss."""'))
    newest = commit(repository)
    monkeypatch.chdir(mine)
    cli.main(["update"])
    assert "echo later" in (mine / "Makefile").read_text()
    assert '"""A head, and its loss."""' in head.read_text()
    assert "torch.tanh" in head.read_text()
    assert (mine / "conf/data/clinic_notes.yaml").read_text().endswith("path: mine.csv\n")
    assert newest in (mine / "pyproject.toml").read_text()
    assert not list(mine.rglob("*.rej"))
    assert "<<<<<<<" not in git(mine, "diff")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("acme-reviews", "expected a name that Python can import"),
        ("Acme", "in small letters"),
        ("torch", "is the name of a package that is installed here"),
        ("class", "expected a name"),
    ],
)
def test_a_name_that_cannot_be_imported_is_refused(name: str, said: str, source: Path, tmp_path: Path, capsys):
    with pytest.raises(SystemExit):
        cli.main(["new", str(tmp_path / name), "--source", str(source)])
    assert said in capsys.readouterr().err
    assert not (tmp_path / name).exists()


def test_what_is_there_is_left_as_it_is(project: Path, source: Path, tmp_path: Path, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        cli.main(["new", str(project), "--source", str(source)])
    assert "exists already" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main(["new", str(tmp_path / "mine"), "--source", str(tmp_path / "nowhere")])
    assert "cannot be read" in capsys.readouterr().err
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        cli.main(["update"])
    assert "not the folder of a project" in capsys.readouterr().err


def test_an_update_of_what_is_not_committed_is_refused(project: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.chdir(project)
    with pytest.raises(SystemExit):
        cli.main(["update"])
    assert "git" in capsys.readouterr().err
