"""The routes of the API."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from fastapi import HTTPException, Request
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, StreamingResponse
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from lightune.common.errors import UserError
from lightune.common.html_pages import render
from lightune.runs.explain import explain
from lightune.runs.inference import Predictor
from lightune.runs.serve import pages, schema
from lightune.runs.serve.prometheus import Metrics
from lightune.runs.serve.streaming import stream_text
from lightune.runs.serve.worker import FullError, Row, Worker


class StoppedError(Exception):
    """The client no longer waits for the text that is being generated."""


@dataclass(frozen=True)
class Routes:
    """The functions behind the API's paths; their docstrings are its documentation."""

    predictor: Predictor
    description: schema.RunDescription
    worker: Worker
    metrics: Metrics
    timeout: float
    """Seconds that a request may take."""

    async def predict(self, body: schema.PredictRequest) -> JSONResponse:
        """Predict."""
        rows = self._rows(body.text, body.text_pair)
        return JSONResponse({"predictions": await self._results(self.worker.predict(rows))})

    async def explain(self, body: schema.ExplainRequest) -> JSONResponse:
        """Explain a prediction."""
        row, task, preprocessor = self._row(body), self.predictor.task, self.predictor.preprocessor
        future = self.worker.submit(lambda: explain(task, preprocessor, row, target=body.target))
        (explanations,) = await self._results([future])
        return JSONResponse(schema.Explanations(explanations=explanations).model_dump())

    async def stream(self, body: schema.SingleRequest) -> StreamingResponse:
        """Generate a text; each line of the reply is a JSON object with the text so far."""
        row, texts, stopped = self._row(body), asyncio.Queue[str | None](), threading.Event()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.timeout

        def send(text: str) -> None:
            if stopped.is_set():
                raise StoppedError
            loop.call_soon_threadsafe(texts.put_nowait, text)

        future = self.worker.submit(lambda: stream_text(self.predictor, row, send))
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(texts.put_nowait, None))

        async def lines() -> AsyncIterator[str]:
            try:
                async with asyncio.timeout_at(deadline):
                    while (text := await texts.get()) is not None:
                        yield _line(generated_text=text)
                if (error := future.exception()) is not None:
                    yield _line(detail=problem(error)[1])
            except TimeoutError:
                yield _line(detail=f"Stopped after {self.timeout:g} s.")
            finally:
                stopped.set()
                future.cancel()

        return StreamingResponse(lines(), media_type="application/x-ndjson")

    async def model(self) -> JSONResponse:
        """What the run reads and predicts."""
        return JSONResponse(self.description.model_dump())

    async def health(self) -> JSONResponse:
        """Whether the server can answer."""
        alive = self.worker.alive
        return JSONResponse({"status": "ok" if alive else "stopped"}, 200 if alive else 503)

    async def metrics_text(self) -> PlainTextResponse:
        """Metrics for Prometheus."""
        return PlainTextResponse(self.metrics.text(), media_type=CONTENT_TYPE_PLAIN_0_0_4)

    async def page(self) -> HTMLResponse:
        """The page on which a person types a text."""
        return pages.with_policy(render("runs/serve/page.html", title="lightune"))

    async def documentation(self, request: Request) -> HTMLResponse:
        """The API's documentation."""
        return pages.with_policy(pages.documentation(request.app.openapi()))

    def _rows(self, text: list[str], pair: list[str] | None) -> list[Row]:
        columns = [text] if pair is None else [text, pair]
        expected = self.description.columns
        if len(columns) != len(expected):
            fix = "text alone" if len(expected) == 1 else "text and text_pair"
            raise HTTPException(422, f"This run reads {', '.join(expected)}: give {fix}.")
        if len({len(column) for column in columns}) > 1:
            raise HTTPException(422, "text and text_pair: expected the same number of each.")
        return list(zip(*columns, strict=True))

    def _row(self, body: schema.SingleRequest) -> Row:
        return self._rows([body.text], None if body.text_pair is None else [body.text_pair])[0]

    async def _results(self, futures: list[Future[Any]]) -> list[Any]:
        try:
            async with asyncio.timeout(self.timeout):
                return await asyncio.gather(*map(asyncio.wrap_future, futures))
        except TimeoutError:
            for future in futures:
                future.cancel()
            detail = f"No answer within {self.timeout:g} s. Send fewer or shorter texts."
            raise HTTPException(504, detail) from None


def problem(error: BaseException) -> tuple[int, str]:
    """Return the status and the message for a failure, without a traceback or a path."""
    if isinstance(error, UserError):
        # the name of a command-line option becomes that of a field
        return 400, str(error).removeprefix("--")
    if isinstance(error, FullError):
        return 503, "The queue is full. Try again, or send fewer texts."
    return 500, "Something went wrong in the server; its log has the details."


def _line(**fields: str) -> str:
    return json.dumps(fields) + "\n"
