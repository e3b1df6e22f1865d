"""Pages of the server, which load nothing from elsewhere."""

import base64
import hashlib
import json
import re
from html import escape
from importlib.resources import files
from typing import Any

from fastapi.responses import HTMLResponse


def with_policy(html: str) -> HTMLResponse:
    """Answer with a page that may run and use nothing but what it holds, and ask this server alone."""
    sources = {
        f"{name}-src": " ".join(f"'sha256-{_digest(part)}'" for part in parts)
        for name in ("script", "style")
        if (parts := re.findall(rf"<{name}>(.*?)</{name}>", html, flags=re.DOTALL))
    }
    policy = {
        "default-src": "'none'",
        **sources,
        "connect-src": "'self'",
        "img-src": "data:",  # an empty icon
        **dict.fromkeys(("base-uri", "form-action", "frame-ancestors"), "'none'"),
    }
    header = "; ".join(f"{name} {value}" for name, value in policy.items())
    return HTMLResponse(html, headers={"Content-Security-Policy": header})


def try_it() -> str:
    """Return the page where a person types a text."""
    return files("lightune.runs.serve").joinpath("page.html").read_text(encoding="utf-8")


def documentation(openapi: dict[str, Any]) -> str:
    """Return the API's description as a plain page."""
    parts = []
    for path, methods in openapi["paths"].items():
        for method, operation in methods.items():
            parts.append(
                f"<h2><code>{method.upper()} {escape(path)}</code></h2><p>{escape(operation['summary'])}.</p>"
            )
            said = {
                "request": operation.get("requestBody", {}).get("content", {}),
                **{status: reply.get("content", {}) for status, reply in operation["responses"].items()},
            }
            for what, content in said.items():
                schema = content.get("application/json", {}).get("schema", {}).get("$ref", "")
                if schema:
                    name = escape(schema.rpartition("/")[2])
                    parts.append(f'<p>{escape(str(what))}: <a href="#{name}">{name}</a></p>')
    for name, schema in openapi.get("components", {}).get("schemas", {}).items():
        text = escape(json.dumps(schema, indent=2, ensure_ascii=False))
        parts.append(f'<h3 id="{escape(name)}">{escape(name)}</h3><pre>{text}</pre>')
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>lightune: API</title>
<link rel="icon" href="data:,">
<style>
body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1rem }}
pre {{ overflow-x: auto; font-size: .85rem }}
</style>
</head>
<body>
<h1>API</h1>
<p>As <a href="openapi.json">OpenAPI</a>; the <a href=".">page to try it on</a>.</p>
{"".join(parts)}
</body>
</html>
"""


def _digest(part: str) -> str:
    return base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()
