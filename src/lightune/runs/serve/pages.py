"""The server's pages, which load nothing from elsewhere."""

import json
import re
from base64 import b64encode
from hashlib import sha256
from typing import Any

from fastapi.responses import HTMLResponse

from lightune.common.html_pages import render


def with_policy(html: str) -> HTMLResponse:
    """Reply with a page that may use only its own scripts and styles, and send requests only to this server."""
    sources = {
        f"{name}-src": " ".join(f"'sha256-{b64encode(sha256(part.encode()).digest()).decode()}'" for part in parts)
        for name in ("script", "style")
        if (parts := re.findall(rf"<{name}>(.*?)</{name}>", html, flags=re.DOTALL))
    }
    policy = {
        "default-src": "'none'",
        **sources,
        "connect-src": "'self'",
        # the empty icon
        "img-src": "data:",
        **dict.fromkeys(("base-uri", "form-action", "frame-ancestors"), "'none'"),
    }
    header = "; ".join(f"{name} {value}" for name, value in policy.items())
    return HTMLResponse(html, headers={"Content-Security-Policy": header})


def documentation(openapi: dict[str, Any]) -> str:
    """Return the API's OpenAPI description as a plain page."""
    operations = []
    for path, methods in openapi["paths"].items():
        for method, operation in methods.items():
            bodies = {"request": operation.get("requestBody", {}), **operation["responses"]}
            links = [(name, link) for name, body in bodies.items() if (link := _schema_name(body))]
            operations.append((f"{method.upper()} {path}", operation["description"], links))
    schemas = {
        name: json.dumps(schema, indent=2, ensure_ascii=False)
        for name, schema in openapi.get("components", {}).get("schemas", {}).items()
    }
    return render("runs/serve/api.html", title="lightune: API", operations=operations, schemas=schemas)


def _schema_name(body: dict[str, Any]) -> str:
    schema = body.get("content", {}).get("application/json", {}).get("schema", {})
    return str(schema.get("$ref", "")).rpartition("/")[2]
