"""Middleware before the API: authentication, other origins, the size of a body, security headers and metrics."""

import asyncio
import secrets
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lightune.runs.serve.prometheus import Metrics

MAX_BODY = 2**20  # bytes
# a longer body is read up to here and thrown away, so that the client receives the refusal
MAX_DISCARDED = 16 * MAX_BODY
# the page asks for the token itself
PUBLIC_PATHS = ("/", "/health")
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True)
class Guard:
    """Refuse pages of other origins, requests without the token and bodies over 1 MiB; count every request.

    ``paths`` are the API's own, others are counted as ``other``; a body must arrive within ``timeout`` seconds.
    """

    app: ASGIApp
    token: str | None
    paths: frozenset[str]
    metrics: Metrics
    timeout: float

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status = time.monotonic(), 500

        async def send_secured(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            body, refusal = b"", self._refuse(scope)
            if refusal is None:
                body, refusal = await self._read(receive)
            if refusal is None:
                await self.app(scope, _replay(body, receive), send_secured)
            else:
                await refusal(scope, receive, send_secured)
        finally:
            path = scope["path"] if scope["path"] in self.paths else "other"
            self.metrics.requests.labels(path, status).inc()
            self.metrics.seconds.labels(path).observe(time.monotonic() - start)

    def _refuse(self, scope: Scope) -> JSONResponse | None:
        headers = Headers(scope=scope)
        if (origin := headers.get("origin")) is not None and urlsplit(origin).netloc != headers.get("host"):
            return _refusal(403, "Pages of other origins may not use this server.")
        if self.token is None or scope["path"] in PUBLIC_PATHS:
            return None
        scheme, _, credentials = headers.get("authorization", "").partition(" ")
        matches = secrets.compare_digest(credentials.strip().encode("latin-1"), self.token.encode())
        if scheme.lower() == "bearer" and matches:
            return None
        refusal = _refusal(401, "This server needs its token: Authorization: Bearer TOKEN.")
        refusal.headers["WWW-Authenticate"] = "Bearer"
        return refusal

    async def _read(self, receive: Receive) -> tuple[bytes, JSONResponse | None]:
        """Return a request's body, or the refusal of one that is too long or too slow."""
        parts, length = [], 0
        try:
            async with asyncio.timeout(self.timeout):
                while length <= MAX_DISCARDED:
                    message = await receive()
                    part = message.get("body", b"")
                    length += len(part)
                    if length <= MAX_BODY:
                        parts.append(part)
                    if not message.get("more_body", False):
                        break
        except TimeoutError:
            return b"", _refusal(408, f"The request did not arrive within {self.timeout:g} s.")
        if length > MAX_BODY:
            return b"", _refusal(413, f"The request is longer than {MAX_BODY:,} bytes. Send fewer texts.")
        return b"".join(parts), None


def _refusal(status: int, detail: str) -> JSONResponse:
    return JSONResponse({"detail": detail}, status)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a ``receive`` that gives the body first, and then what the client still sends."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return messages.pop() if messages else await receive()

    return receive_again
