"""``lightune serve``: an HTTP API, and a page to try the model on."""

import argparse
import ipaddress
import os
import socket
from pathlib import Path
from typing import Any

from lightune.commands import Commands
from lightune.commands.open_run import load
from lightune.common.errors import UserError
from lightune.common.packages import check_installed
from lightune.config import load_run_config

LOOPBACK = ("127.0.0.1", "localhost", "::1", "[::1]")
TOKEN = "LIGHTUNE_SERVE_TOKEN"
# explanations need float32 weights
MIXED_PRECISION = {"bf16-true": "bf16-mixed", "16-true": "16-mixed"}


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("serve", help="answer over HTTP, with a page to try the model on")
    parser.add_argument("run", type=Path, metavar="RUN", help="a run's folder")
    parser.add_argument("--host", default="127.0.0.1", help="default: 127.0.0.1, this machine alone")
    parser.add_argument("--port", type=int, default=8000, help="default: 8000; 0 takes a free one")
    parser.add_argument("--max-batch-size", type=int, default=32, help="texts in a batch (default: 32)")
    parser.add_argument("--max-wait-ms", type=float, default=2.0, help="how long a text waits for others (default: 2)")
    parser.add_argument("--timeout", type=float, default=30.0, help="seconds for a request (default: 30)")
    usage = f"environment variable with the token that clients must send (default: {TOKEN})"
    parser.add_argument("--token-env", metavar="NAME", default=TOKEN, help=usage)
    parser.set_defaults(command=_run)


def _run(arguments: argparse.Namespace) -> None:
    _check(arguments)
    token = _token(arguments)
    # an error in the folder is reported before the port is taken
    load_run_config(arguments.run)
    with _bind(arguments.host, arguments.port) as bound:
        cfg, task, preprocessor = load(arguments.run)

        from lightune.runs.inference import Predictor
        from lightune.runs.serve.api import make_app
        from lightune.runs.serve.schema import RunDescription

        precision = MIXED_PRECISION.get(cfg.trainer.precision, cfg.trainer.precision)
        app = make_app(
            Predictor(task, preprocessor, precision=precision),
            RunDescription(
                task=cfg.task_name,
                columns=preprocessor.input_columns,
                labels=[str(label) for label in task.label_names],
                explains=task.is_explainable,
                streams=task.streams,
            ),
            max_batch_size=arguments.max_batch_size,
            max_wait=arguments.max_wait_ms / 1000,
            timeout=arguments.timeout,
            token=token,
            hosts=[*LOOPBACK, arguments.host] if _is_loopback(arguments.host) else ["*"],
        )
        _serve(app, bound, host=arguments.host, timeout=arguments.timeout)


def _serve(app: Any, bound: socket.socket, *, host: str, timeout: float) -> None:
    """Print the address and serve until a signal arrives; accepted requests are answered first."""
    import uvicorn

    config: Any = uvicorn.Config(
        app,
        log_config=None,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=1024,
        timeout_graceful_shutdown=int(timeout) + 5,
    )
    # a client may connect as soon as it reads the address
    bound.listen(config.backlog)
    print(f"http://{f'[{host}]' if ':' in host else host}:{bound.getsockname()[1]}", flush=True)
    try:
        uvicorn.Server(config).run(sockets=[bound])
    except KeyboardInterrupt:
        # uvicorn has stopped, and raises the signal again
        raise SystemExit(130) from None


def _check(arguments: argparse.Namespace) -> None:
    check_installed("fastapi", "prometheus_client", "uvicorn", extra="serve", needed_by="lightune serve")
    if not 0 <= arguments.port < 2**16:
        raise UserError(f"--port {arguments.port}: expected 0 to 65535; 0 takes a free one.")
    for option, least in (("max_batch_size", 1), ("max_wait_ms", 0), ("timeout", 1)):
        if not least <= getattr(arguments, option) < 10**6:
            name = f"--{option.replace('_', '-')}"
            raise UserError(f"{name} {getattr(arguments, option)}: expected {least} or more.")


def _token(arguments: argparse.Namespace) -> str | None:
    """Return the token that clients must send; refuse one that a header cannot hold, and other machines without one."""
    token = os.environ.get(arguments.token_env, "")
    if not token:
        if arguments.token_env != TOKEN:
            raise UserError(f"--token-env {arguments.token_env}: this environment variable is not set.")
        if not _is_loopback(arguments.host):
            raise UserError(
                f"--host {arguments.host} lets other machines connect: set a token that clients must send.\n"
                f"For example: export {TOKEN}=$(python -c 'import secrets; print(secrets.token_urlsafe())')"
            )
        return None
    if len(token) < 16 or not token.isascii() or not token.isprintable() or " " in token:
        raise UserError(f"{arguments.token_env}: expected a token of 16 or more ASCII characters without spaces.")
    return token


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _bind(host: str, port: int) -> socket.socket:
    """Take the port before the model is loaded, or raise a UserError for one that is taken, or no address."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except (OSError, OverflowError) as error:
        raise UserError(f"--host {host} --port {port}: {error}. Choose another, such as --port 0.") from error
    return bound
