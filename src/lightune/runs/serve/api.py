"""The HTTP API of a finished run."""

import asyncio
import json
import logging
import threading
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, StreamingResponse
from starlette.middleware.trustedhost import TrustedHostMiddleware

from lightune.common.errors import UserError
from lightune.runs import explain
from lightune.runs.serve import schema
from lightune.runs.serve.counters import Counters
from lightune.runs.serve.guard import Guard
from lightune.runs.serve.model import Model
from lightune.runs.serve.pages import documentation, try_it, with_policy
from lightune.runs.serve.worker import FullError, Row, Worker

log = logging.getLogger(__name__)

MAX_WAITING = 1024  # texts and other work
PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: {"model": schema.Problem, "description": "The run cannot read this."},
    413: {"model": schema.Problem, "description": "The request is longer than 1 MiB."},
    422: {"model": schema.Problem, "description": "The request has another form."},
    503: {"model": schema.Problem, "description": "Too much is waiting."},
    504: {"model": schema.Problem, "description": "The answer took too long."},
}


class StoppedError(Exception):
    """Nobody waits any more for the text that is written."""


def make_app(
    model: Model,
    described: schema.Described,
    *,
    max_batch_size: int,
    max_wait: float,
    timeout: float,
    token: str | None,
    hosts: Sequence[str],
) -> FastAPI:
    """Make the application; its worker runs until it is shut down.

    Args:
        model: what answers.
        described: what the run does.
        max_batch_size: texts that are computed together.
        max_wait: seconds that a text waits for others.
        timeout: seconds that a request may take.
        token: what clients must have; None: nothing.
        hosts: names that the server may be called by: any other may be a page's that has its own name lead here.
    """
    counters = Counters()
    worker = Worker(
        model.predict,
        max_batch_size=max_batch_size,
        max_wait=max_wait,
        max_waiting=MAX_WAITING,
        computed=counters.batch,
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(worker.close)

    app = FastAPI(title="lightune", version="1", docs_url=None, redoc_url=None, lifespan=lifespan)

    async def answers(futures: list[Future[Any]]) -> list[Any]:
        try:
            async with asyncio.timeout(timeout):
                return await asyncio.gather(*map(asyncio.wrap_future, futures))
        except TimeoutError:
            for future in futures:
                future.cancel()
            raise HTTPException(
                504, f"No answer within {timeout:g} s. Send fewer or shorter texts."
            ) from None

    def rows(text: list[str], pair: list[str] | None) -> list[Row]:
        columns = [text] if pair is None else [text, pair]
        if len(columns) != len(described.columns):
            wanted = "text alone" if len(described.columns) == 1 else "text and text_pair"
            raise HTTPException(422, f"This run reads {', '.join(described.columns)}: give {wanted}.")
        if len({len(column) for column in columns}) > 1:
            raise HTTPException(422, "text and text_pair: expected as many of one as of the other.")
        return list(zip(*columns, strict=True))

    def row(request: schema.OneRequest) -> Row:
        return rows([request.text], None if request.text_pair is None else [request.text_pair])[0]

    @app.post("/predict", response_model=schema.Predictions, responses=PROBLEMS, summary="Predict")
    async def predict(request: schema.PredictRequest) -> JSONResponse:
        found = await answers(worker.predict(rows(request.text, request.text_pair)))
        return JSONResponse({"predictions": found})

    if described.explains:

        @app.post("/explain", response_model=schema.Explanations, responses=PROBLEMS, summary="Explain")
        async def why(request: schema.ExplainRequest) -> JSONResponse:
            texts = row(request)
            (found,) = await answers([worker.alone(lambda: model.explain(texts, target=request.target))])
            return JSONResponse({"explanations": [_explained(one) for one in found]})

    if described.streams:

        @app.post("/stream", responses=PROBLEMS, summary="Write a text; a JSON object a line holds it so far")
        async def stream(request: schema.OneRequest) -> StreamingResponse:
            texts, so_far, stopped = row(request), asyncio.Queue[str | None](), threading.Event()
            loop = asyncio.get_running_loop()

            def tell(text: str) -> None:
                if stopped.is_set():
                    raise StoppedError
                loop.call_soon_threadsafe(so_far.put_nowait, text)

            written = worker.alone(lambda: model.stream(texts, tell))
            written.add_done_callback(lambda _: loop.call_soon_threadsafe(so_far.put_nowait, None))
            end = loop.time() + timeout

            async def lines() -> AsyncIterator[str]:
                try:
                    async with asyncio.timeout_at(end):
                        while (text := await so_far.get()) is not None:
                            yield json.dumps({"generated_text": text}) + "\n"
                    if written.exception() is not None:
                        yield json.dumps({"detail": _said(written.exception())[1]}) + "\n"
                except TimeoutError:
                    yield json.dumps({"detail": f"Stopped after {timeout:g} s."}) + "\n"
                finally:
                    stopped.set()
                    written.cancel()

            return StreamingResponse(lines(), media_type="application/x-ndjson")

    @app.get("/model", response_model=schema.Described, summary="What the run does")
    async def what() -> JSONResponse:
        return JSONResponse(described.model_dump())

    @app.get("/health", summary="Whether the server can answer")
    async def health() -> JSONResponse:
        return JSONResponse(
            {"status": "ok"} if worker.alive else {"status": "stopped"}, 200 if worker.alive else 503
        )

    @app.get("/metrics", response_class=PlainTextResponse, summary="Counters for Prometheus")
    async def metrics() -> PlainTextResponse:
        text = counters.text(waiting=worker.waiting)
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4")

    @app.get("/", include_in_schema=False)
    async def page() -> HTMLResponse:
        return with_policy(try_it())

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return with_policy(documentation(app.openapi()))

    @app.exception_handler(RequestValidationError)
    async def malformed(request: Request, error: RequestValidationError) -> JSONResponse:
        return JSONResponse({"detail": _wrong(error)}, 422)

    async def failed(request: Request, error: Exception) -> JSONResponse:
        status, why = _said(error)
        headers = {"Retry-After": "1"} if status == 503 else None
        return JSONResponse({"detail": why}, status, headers)

    for kind in (UserError, FullError, Exception):
        app.add_exception_handler(kind, failed)

    paths = frozenset(
        {"/docs", "/openapi.json"} | {route.path for route in app.routes if hasattr(route, "path")}
    )
    app.add_middleware(Guard, token=token, paths=paths, counters=counters, timeout=timeout)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False)
    return app


def _said(error: BaseException | None) -> tuple[int, str]:
    """Return the status and the words for a failure, without a trace or a path."""
    if isinstance(error, UserError):
        return 400, str(error).removeprefix("--")  # an option of the command line
    if isinstance(error, FullError):
        return 503, "Too much is waiting. Try again, or send fewer texts."
    return 500, "This went wrong in the server; its log says how."


def _wrong(error: RequestValidationError) -> str:
    """Return what is wrong with a request, without what it holds: that may be long, or no text at all."""
    found = []
    for one in error.errors()[:3]:
        if one["type"] == "json_invalid":
            return f"The request is no JSON: {one['ctx']['error']}, at character {one['loc'][-1]}."
        if len(one["loc"]) < 2:
            return "Expected a JSON object, sent with Content-Type: application/json."
        place = ".".join(str(part) for part in one["loc"][1:])
        message = one["msg"].removeprefix("Value error, ")
        found.append(f"{place}: {message}")
    return "; ".join(found)


def _explained(found: explain.Explanation) -> dict[str, Any]:
    fields = {name: getattr(found, name) for name in schema.Explanation.model_fields if name != "words"}
    words = [
        {
            "text": word.text,
            "column": word.place.text,
            "start": word.place.start,
            "end": word.place.end,
            "score": word.score,
            "explained": word.explained,
        }
        for word in found.words
    ]
    return {**fields, "words": words}
