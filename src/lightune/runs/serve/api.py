"""The HTTP API of a finished run: the application, its routes' errors and what stands around them."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from starlette.middleware.trustedhost import TrustedHostMiddleware

from lightune.common.errors import UserError
from lightune.runs.inference import Predictor
from lightune.runs.serve import schema
from lightune.runs.serve.middleware import Guard
from lightune.runs.serve.prometheus import Metrics
from lightune.runs.serve.routes import Routes, problem
from lightune.runs.serve.worker import FullError, Worker

MAX_WAITING = 1024  # texts and other work
PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: {"model": schema.Problem, "description": "The run cannot read the text."},
    413: {"model": schema.Problem, "description": "The request is longer than 1 MiB."},
    422: {"model": schema.Problem, "description": "The request is malformed."},
    503: {"model": schema.Problem, "description": "The queue is full."},
    504: {"model": schema.Problem, "description": "The answer took too long."},
}


def make_app(
    predictor: Predictor,
    description: schema.RunDescription,
    *,
    max_batch_size: int,
    max_wait: float,
    timeout: float,
    token: str | None,
    hosts: Sequence[str],
) -> FastAPI:
    """Make the application; its worker thread runs until the application shuts down.

    A text waits at most ``max_wait`` seconds for others of its batch, and a request takes at most ``timeout`` seconds.
    ``hosts`` are the names that requests may name: others could be a page's own name that resolves to this machine.
    Clients must send the bearer ``token``, if there is one.
    """
    metrics = Metrics()
    worker = Worker(
        predictor.predict,
        max_batch_size=max_batch_size,
        max_wait=max_wait,
        max_waiting=MAX_WAITING,
        on_batch=metrics.batch_rows.observe,
    )
    metrics.waiting.set_function(lambda: worker.waiting)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(worker.close)

    app = FastAPI(title="lightune", version="1", docs_url=None, redoc_url=None, lifespan=lifespan)
    routes = Routes(predictor, description, worker, metrics, timeout)
    app.post("/predict", response_model=schema.Predictions, responses=PROBLEMS)(routes.predict)
    if description.explains:
        app.post("/explain", response_model=schema.Explanations, responses=PROBLEMS)(routes.explain)
    if description.streams:
        app.post("/stream", responses=PROBLEMS)(routes.stream)
    app.get("/model", response_model=schema.RunDescription)(routes.model)
    app.get("/health")(routes.health)
    app.get("/metrics", response_class=PlainTextResponse)(routes.metrics_text)
    app.get("/", include_in_schema=False, response_class=HTMLResponse)(routes.page)
    app.get("/docs", include_in_schema=False, response_class=HTMLResponse)(routes.documentation)
    app.add_exception_handler(RequestValidationError, _reply_to_malformed)
    for kind in (UserError, FullError, Exception):
        app.add_exception_handler(kind, _reply_to_failure)
    paths = frozenset({"/", "/docs", "/openapi.json", *app.openapi()["paths"]})
    app.add_middleware(Guard, token=token, paths=paths, metrics=metrics, timeout=timeout)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False)
    return app


async def _reply_to_failure(request: Request, error: Exception) -> JSONResponse:
    status, detail = problem(error)
    return JSONResponse({"detail": detail}, status, {"Retry-After": "1"} if status == 503 else None)


async def _reply_to_malformed(request: Request, error: Exception) -> JSONResponse:
    """Say what is wrong with a request without quoting it: that may be long, or not even text."""
    assert isinstance(error, RequestValidationError)
    details = []
    for fault in error.errors()[:3]:
        location = fault["loc"]
        if fault["type"] == "json_invalid":
            details = [f"The request is not JSON: {fault['ctx']['error']}, at character {location[-1]}."]
            break
        if len(location) < 2:
            details = ["Expected a JSON object, sent with Content-Type: application/json."]
            break
        details.append(f"{'.'.join(map(str, location[1:]))}: {fault['msg'].removeprefix('Value error, ')}")
    return JSONResponse({"detail": "; ".join(details)}, 422)
