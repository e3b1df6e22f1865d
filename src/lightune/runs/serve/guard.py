"""What stands before the API: who may ask, from where, and how much."""

import asyncio
import secrets
import time
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lightune.runs.serve.counters import Counters

MAX_BODY = 2**20  # bytes
DRAINED = 16 * MAX_BODY  # of what is too long is read and thrown away, so that the client hears why
OPEN = ("/", "/health")  # the page asks for the token
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Guard:
    """Refuse pages of other origins, requests without the token, and bodies above 1 MiB; count all requests.

    Args:
        app: what is guarded.
        token: what ``Authorization: Bearer`` must say; None: nothing.
        paths: of the API.
        counters: are told of each request.
        timeout: seconds that a body may take to arrive.
    """

    def __init__(
        self, app: ASGIApp, *, token: str | None, paths: frozenset[str], counters: Counters, timeout: float
    ) -> None:
        self._app = app
        self._token = token
        self._paths = paths
        self._counters = counters
        self._timeout = timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.monotonic(), 500

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            refused = self._refuse(scope)
            if refused is None:
                body, refused = await self._read(receive)
            if refused is None:
                await self._app(scope, _again(body, receive), answer)
            else:
                await refused(scope, receive, answer)
        finally:
            path = scope["path"] if scope["path"] in self._paths else "other"
            self._counters.request(path, status, time.monotonic() - began)

    def _refuse(self, scope: Scope) -> JSONResponse | None:
        headers = Headers(scope=scope)
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != headers.get("host"):
            return _refusal(403, "Pages of other origins may not use this server.")
        if self._token is None or scope["path"] in OPEN:
            return None
        scheme, _, given = headers.get("authorization", "").partition(" ")
        right = secrets.compare_digest(given.strip().encode("latin-1"), self._token.encode())
        if scheme.lower() == "bearer" and right:
            return None
        refusal = _refusal(401, "This server wants its token: Authorization: Bearer TOKEN.")
        refusal.headers["WWW-Authenticate"] = "Bearer"
        return refusal

    async def _read(self, receive: Receive) -> tuple[bytes, JSONResponse | None]:
        """Return a request's body, or what is said of one that is too long or too slow."""
        parts, length = [], 0
        try:
            async with asyncio.timeout(self._timeout):
                while length <= DRAINED:
                    message = await receive()
                    part = message.get("body", b"")
                    length += len(part)
                    if length <= MAX_BODY:
                        parts.append(part)
                    if not message.get("more_body", False):
                        break
        except TimeoutError:
            return b"", _refusal(408, f"The request did not arrive within {self._timeout:g} s.")
        if length > MAX_BODY:
            return b"", _refusal(413, f"The request is longer than {MAX_BODY:,} bytes. Send fewer texts.")
        return b"".join(parts), None


def _refusal(status: int, why: str) -> JSONResponse:
    return JSONResponse({"detail": why}, status)


def _again(body: bytes, receive: Receive) -> Receive:
    """Give a body that was read to the one who asks first."""
    given = False

    async def once() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return once
