import os
import time
from pathlib import Path

import pytest

from lightune.common.errors import UserError
from lightune.common.files import atomic_file, atomic_folder, refuse_archive, remove_unused


def test_a_file_appears_only_when_it_is_complete(tmp_path: Path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with atomic_file(path) as file:
        file.write("é\r\n")
        assert path.read_text() == "old"
    assert path.read_bytes() == "é\r\n".encode()
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("sync", [False, True])
def test_a_file_that_was_not_completed_leaves_the_old_one(tmp_path: Path, sync: bool):
    path = tmp_path / "file.bin"
    with atomic_file(path, "wb", sync=sync) as file:
        file.write(b"old")
    with pytest.raises(ZeroDivisionError), atomic_file(path, "wb", sync=sync) as file:
        file.write(b"new")
        raise ZeroDivisionError
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_appears_only_when_it_is_filled(tmp_path: Path):
    path = tmp_path / "new" / "folder"
    with atomic_folder(path) as folder:
        (folder / "file").touch()
        assert not path.exists()
    assert [file.name for file in path.iterdir()] == ["file"]
    with pytest.raises(ZeroDivisionError), atomic_folder(tmp_path / "other"):
        raise ZeroDivisionError
    assert [entry.name for entry in tmp_path.iterdir()] == ["new"]


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="Cannot write"), atomic_folder(tmp_path / "file" / "folder"):
        pass


def test_files_that_nobody_has_used_for_long_are_removed(tmp_path: Path):
    now = time.time()
    for name, days in (("new", 0), ("used", 29), ("old", 31), ("needed", 31)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (now, now - days * 24 * 60 * 60))
    remove_unused(tmp_path, used=tmp_path / "needed")
    assert {file.name for file in tmp_path.iterdir()} == {"new", "used", "needed"}
    assert (tmp_path / "needed").stat().st_mtime > now - 60


@pytest.mark.parametrize(("name", "unpack"), [("a run.zip", "unzip 'a run.zip'"), ("run.tar.gz", "tar -xf run.tar.gz")])
def test_an_archive_in_place_of_a_folder_is_told(tmp_path: Path, monkeypatch, name: str, unpack: str):
    monkeypatch.chdir(tmp_path)
    refuse_archive(Path(name))
    Path(name).write_bytes(b"PK")
    with pytest.raises(UserError, match=f"{name} is an archive.*{unpack}"):
        refuse_archive(Path(name))
