"""``lightune serve`` as a process: the arguments that it refuses, and how it stops."""

import signal
import threading
import time
from pathlib import Path

import pytest

from lightune.commands import cli

httpx = pytest.importorskip("httpx")
pytest.importorskip("uvicorn")


@pytest.mark.parametrize(
    ("arguments", "environment", "reason"),
    [
        (["--host", "0.0.0.0"], {}, "set a token that clients must send"),
        (["--host", "::"], {}, "set a token that clients must send"),
        (["--host", "0.0.0.0"], {"LIGHTUNE_SERVE_TOKEN": "short"}, "16 or more"),
        (["--token-env", "NOT_THERE"], {}, "is not set"),
        (["--port", "99999999"], {}, "--port 99999999"),
        (["--host", "192.0.2.1"], {"LIGHTUNE_SERVE_TOKEN": "x" * 16}, "192.0.2.1"),
        (["--max-batch-size", "0"], {}, "--max-batch-size 0: expected 1 or more"),
        (["--timeout", "nan"], {}, "--timeout nan"),
    ],
)
def test_refused_arguments(
    finished_run: Path,
    capsys,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    environment: dict,
    reason: str,
):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as caught:
        cli.main(["serve", str(finished_run), *arguments])
    assert caught.value.code == 1
    message = capsys.readouterr().err
    assert reason in message
    assert len(message.splitlines()) <= 5


def test_a_missing_extra_is_named(finished_run: Path, capsys, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("lightune.common.packages.find_spec", lambda name: None)
    with pytest.raises(SystemExit):
        cli.main(["serve", str(finished_run)])
    assert "pip install -e '.[serve]'" in capsys.readouterr().err


def test_sigterm_finishes_accepted_requests(finished_run: Path, serving):
    replies: list[object] = []
    # a text waits three seconds for others, and the signal comes meanwhile
    with serving(finished_run, "--max-wait-ms", "3000") as (process, address):
        assert httpx.get(f"{address}/health", timeout=30).json() == {"status": "ok"}
        asking = threading.Thread(
            target=lambda: replies.append(httpx.post(f"{address}/predict", json={"text": "superb"}, timeout=30))
        )
        asking.start()
        waiting = "lightune_waiting 1.0\n"
        while waiting not in httpx.get(f"{address}/metrics", timeout=30).text:
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        asking.join(30)
        assert process.wait(30) == -signal.SIGTERM
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()
    (reply,) = replies
    assert reply.json()["predictions"][0]["label"] == "positive"
