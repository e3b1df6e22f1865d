"""The API on a trained run: its answers are those of the commands, and its errors have a reason."""

import json
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from lightune.commands import cli
from lightune.runs.load_run import rebuild

pytest.importorskip("fastapi")
pytest.importorskip("httpx")

from fastapi.testclient import TestClient

from lightune.runs.inference import Predictor
from lightune.runs.serve.api import make_app
from lightune.runs.serve.middleware import MAX_BODY
from lightune.runs.serve.schema import MAX_CHARACTERS, MAX_TEXTS, RunDescription

TOKEN = "a-token-of-this-test"


@contextmanager
def served(run: Path, *, streams: bool = False, **changes) -> Iterator[TestClient]:
    _, task, preprocessor = rebuild(run)
    settings = {
        "max_batch_size": 8, "max_wait": 0.02, "timeout": 20.0, "token": None, "hosts": ["127.0.0.1", "localhost"],
    } | changes  # fmt: skip
    predictor = settings.pop("predictor", Predictor)(task, preprocessor, precision="32-true")
    description = RunDescription(
        task="text_classification",
        columns=preprocessor.input_columns,
        labels=list(task.label_names),
        explains=not streams,
        streams=streams,
    )
    app = make_app(predictor, description, **settings)
    with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="module")
def client(finished_run: Path) -> Iterator[TestClient]:
    with served(finished_run) as client:
        yield client


def test_answers_are_those_of_the_command(client: TestClient, finished_run: Path, tmp_path: Path):
    texts = ["a superb film", "the dire plot and the awful music", "good"]
    arguments = [word for text in texts for word in ("--text", text)]
    cli.main(["predict", str(finished_run), *arguments, "--out", str(tmp_path / "out.jsonl")])
    expected = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    together = client.post("/predict", json={"text": texts}).json()["predictions"]
    single = [client.post("/predict", json={"text": text}).json()["predictions"][0] for text in texts]
    for batched, alone, command in zip(together, single, expected, strict=True):
        assert batched["label"] == alone["label"] == command["label"]
        # the command may compute in bfloat16
        assert batched["probabilities"] == pytest.approx(command["probabilities"], abs=0.02)
        assert alone["probabilities"] == pytest.approx(batched["probabilities"], abs=1e-5)


def test_an_explanation_holds_the_words_that_decide(client: TestClient):
    (found,) = client.post("/explain", json={"text": "the superb film"}).json()["explanations"]
    assert found["label"] == "positive"
    assert max(found["words"], key=lambda word: word["score"])["text"] == "superb"
    assert sum(word["score"] for word in found["words"]) == pytest.approx(
        found["output"] - found["baseline"] + found["delta"], abs=1e-3
    )
    (other,) = client.post("/explain", json={"text": "the superb film", "target": "negative"}).json()["explanations"]
    assert other["label"] == "negative"
    refused = client.post("/explain", json={"text": "a", "target": "negativ"})
    assert refused.status_code == 400
    assert "Did you mean 'negative'" in refused.json()["detail"]


def test_a_long_text_is_read_and_explained_to_its_end(finished_run: Path, tmp_path: Path):
    run = shutil.copytree(finished_run, tmp_path / "run")
    config = OmegaConf.load(run / ".hydra" / "config.yaml")
    OmegaConf.update(config, "data.doc_stride", 8)
    OmegaConf.save(config, run / ".hydra" / "config.yaml")
    text = "the film is a story " * 12 + "superb lovely great " * 12
    with served(run) as client:
        assert client.post("/predict", json={"text": text}).json()["predictions"][0]["label"] == "positive"
        (found,) = client.post("/explain", json={"text": text, "target": "positive"}).json()["explanations"]
        assert client.post("/explain", json={"text": text * 60}).status_code == 400
    assert len(found["words"]) == 96
    assert all(word["score"] is not None for word in found["words"])
    assert sum(word["score"] for word in found["words"][60:]) > sum(word["score"] for word in found["words"][:60])


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ('{"text": ', "not JSON"),
        ("", "JSON"),
        ("[]", "JSON object"),
        ("{}", "text: Field required"),
        ('{"text": 5}', "text: expected a text or a list"),
        ('{"text": null}', "text: expected a text or a list"),
        ('{"text": []}', "text: expected a text or a list"),
        ('{"text": ""}', "a text is empty"),
        ('{"text": ["good", " \\n"]}', "text.1: a text is empty"),
        ('{"text": ["good", 3]}', "text.1: Input should be a valid string"),
        ('{"text": [["good"]]}', "text.0: Input should be a valid string"),
        ('{"text": "\\ud800"}', "text.0"),
        ('{"text": "good", "text_pair": "bad"}', "give text alone"),
        ('{"text": "good", "txet": "bad"}', "txet: Extra"),
        (json.dumps({"text": "x" * (MAX_CHARACTERS + 1)}), f"at most {MAX_CHARACTERS} characters"),
        (json.dumps({"text": ["x"] * (MAX_TEXTS + 1)}), f"{MAX_TEXTS} texts or fewer, not 257"),
        ('{"text":' + "[" * 100_000, ""),
    ],
)  # fmt: skip
def test_a_malformed_request_is_explained_and_the_server_lives(client: TestClient, body: str, reason: str):
    reply = client.post("/predict", content=body, headers={"Content-Type": "application/json"})
    assert reply.status_code in (400, 422), reply.text
    assert reason in reply.json()["detail"]
    assert len(reply.text) < 400
    assert client.post("/predict", json={"text": "good"}).status_code == 200


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_too_long_is_refused(client: TestClient, chunked: bool):
    body = b"x" * (10 * MAX_BODY)
    reply = client.post("/predict", content=iter([body[: 2**22]] * 3) if chunked else body)
    assert reply.status_code == 413
    assert "1,048,576 bytes" in reply.json()["detail"]


def test_texts_of_many_requests_are_computed_together(finished_run: Path):
    with served(finished_run, max_wait=0.2) as client, ThreadPoolExecutor(16) as pool:
        texts = ["good", "bad"] * 8
        replies = list(pool.map(lambda text: client.post("/predict", json={"text": text}).json(), texts))
        metrics = client.get("/metrics").text
    labels = [reply["predictions"][0]["label"] for reply in replies]
    assert labels == ["positive", "negative"] * 8
    (batches,) = [line.split()[1] for line in metrics.splitlines() if line.startswith("lightune_batch_rows_count")]
    assert float(batches) < 16
    assert 'lightune_requests_total{path="/predict",status="200"} 16.0\n' in metrics
    assert 'lightune_request_seconds_bucket{le="+Inf",path="/predict"} 16.0\n' in metrics
    assert "lightune_batch_rows_sum 16.0\n" in metrics
    assert "_created" not in metrics


def test_pages_of_other_origins_are_refused(client: TestClient):
    body = {"text": "good"}
    assert client.post("/predict", json=body, headers={"Host": "evil.example"}).status_code == 400
    assert client.post("/predict", json=body, headers={"Origin": "http://evil.example"}).status_code == 403
    assert client.post("/predict", json=body, headers={"Origin": "null"}).status_code == 403
    plain = client.post("/predict", content=json.dumps(body), headers={"Content-Type": "text/plain"})
    assert plain.status_code == 422  # what a form of another origin may send without asking
    allowed = client.post("/predict", json=body, headers={"Host": "localhost:9", "Origin": "http://localhost:9"})
    assert allowed.status_code == 200
    assert "access-control-allow-origin" not in allowed.headers


def test_a_token_is_required_where_one_is_set(finished_run: Path):
    with served(finished_run, token=TOKEN) as client:
        for wrong in (
            {},
            {"Authorization": TOKEN},
            {"Authorization": "Bearer x"},
            {"Authorization": "Bearer é"},
        ):
            for path in ("/metrics", "/model", "/openapi.json", "/docs"):
                headers = {name: value.encode() for name, value in wrong.items()}
                assert client.get(path, headers=headers).status_code == 401
            assert client.post("/predict", json={"text": "good"}, headers=headers).status_code == 401
        right = {"Authorization": f"Bearer {TOKEN}"}
        assert client.post("/predict", json={"text": "good"}, headers=right).status_code == 200
        assert client.get("/health").json() == {"status": "ok"}
        assert client.get("/").status_code == 200


class Broken(Predictor):
    def predict(self, rows):
        raise RuntimeError(f"not for clients: {Path.cwd()}")


class Slow(Predictor):
    def predict(self, rows):
        time.sleep(0.6)
        return super().predict(rows)


def test_a_bug_is_reported_without_its_traceback(finished_run: Path):
    with served(finished_run, predictor=Broken) as client:
        reply = client.post("/predict", json={"text": "good"})
        assert reply.status_code == 500
        assert reply.json() == {"detail": "Something went wrong in the server; its log has the details."}
        assert client.post("/explain", json={"text": "good"}).status_code == 200


def test_an_answer_that_takes_too_long_is_abandoned(finished_run: Path):
    with served(finished_run, predictor=Slow, timeout=0.1) as client:
        reply = client.post("/predict", json={"text": "good"})
        assert (reply.status_code, "0.1 s" in reply.json()["detail"]) == (504, True)


def test_requests_beyond_the_queue_are_refused(finished_run: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("lightune.runs.serve.api.MAX_WAITING", 2)
    with served(finished_run) as client:
        reply = client.post("/predict", json={"text": ["good"] * 3})
        assert (reply.status_code, reply.headers["Retry-After"]) == (503, "1")


def test_the_pages_load_nothing_from_elsewhere(client: TestClient):
    for path in ("/", "/docs"):
        reply = client.get(path)
        assert reply.status_code == 200
        assert reply.headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert "unsafe" not in reply.headers["Content-Security-Policy"]
        assert "http" not in reply.text.replace("http-equiv", "")
    openapi = client.get("/openapi.json").json()
    assert {"/predict", "/explain", "/health", "/metrics"} <= set(openapi["paths"])
    assert client.get("/model").json()["labels"] == ["negative", "positive"]


def test_a_text_is_streamed_while_it_is_generated(train_here, tmp_path: Path):
    data = tmp_path / "chats.jsonl"
    data.write_text("".join(json.dumps({"messages": ["good film", "bad film"]}) + "\n" for _ in range(40)))
    train_here(
        "task=dialogue", "data=local", f"data.path={data}", "data.batch_size=8", "optimizer.lr=5e-3",
        "trainer.max_epochs=3", "task.generation.max_new_tokens=6",
    )  # fmt: skip
    with served(tmp_path / "run", streams=True) as client:
        reply = client.post("/predict", json={"text": "good film"}).json()
        expected = reply["predictions"][0]["generated_text"]
        with client.stream("POST", "/stream", json={"text": "good film"}) as reply:
            texts = [json.loads(line)["generated_text"] for line in reply.iter_lines()]
        assert client.post("/stream", json={"text": " "}).status_code == 422
    assert texts[-1] == expected
    assert len(texts) > 2
    assert all(expected.startswith(text) for text in texts)
