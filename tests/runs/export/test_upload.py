"""The Hub's client is given the folder, and the token from the environment alone."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lightune.common.errors import UserError
from lightune.runs.export import upload


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """Put a client in place of the Hub's that writes down what it is told."""
    told: list[tuple[str, Any]] = []

    class Client:
        def __init__(self, *, token: str) -> None:
            told.append(("token", token))

        def create_repo(self, repo_id: str, **settings: Any) -> Any:
            told.append(("create_repo", {"repo_id": repo_id, **settings}))
            return SimpleNamespace(repo_id=repo_id)

        def upload_folder(self, **settings: Any) -> None:
            told.append(("upload_folder", settings))

    monkeypatch.setattr(upload, "HfApi", Client)
    monkeypatch.setenv("HF_TOKEN", "hf_of_the_test")
    return told


def test_a_new_repository_is_private_and_gets_the_folder(calls: list[tuple[str, Any]], tmp_path: Path):
    upload.check_upload("somebody/reviews")
    upload.upload(tmp_path, name="somebody/reviews")
    assert [name for name, _ in calls] == ["token", "create_repo", "upload_folder"]
    assert calls[0][1] == "hf_of_the_test"
    assert calls[1][1] == {"repo_id": "somebody/reviews", "private": True, "exist_ok": True}
    assert calls[2][1]["folder_path"] == tmp_path and calls[2][1]["repo_id"] == "somebody/reviews"


def test_without_a_token_or_a_name_that_the_hub_knows_nothing_begins(
    calls: list[tuple[str, Any]], monkeypatch: pytest.MonkeyPatch
):
    with pytest.raises(UserError, match="somebody/reviews-minilm"):
        upload.check_upload("some body/reviews")
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(UserError, match="HF_TOKEN"):
        upload.check_upload("somebody/reviews")
    assert calls == []


def test_where_the_hub_refuses_the_folder_stays_and_its_reason_is_said(
    calls: list[tuple[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    def refuse(self: Any, repo_id: str, **settings: Any) -> None:
        raise OSError("403 Forbidden")

    monkeypatch.setattr(upload.HfApi, "create_repo", refuse)
    with pytest.raises(UserError, match="403 Forbidden") as told:
        upload.upload(tmp_path, name="somebody/reviews")
    assert "hf_of_the_test" not in str(told.value) and len(str(told.value).splitlines()) <= 5
    assert tmp_path.is_dir()
