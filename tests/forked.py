"""Run Python in processes that are forked from one that has imported what training needs: that saves seconds each time.

So are the processes that those start, such as the ranks of ``trainer=ddp``: their ``sys.executable`` is ``python()``.
"""

import array
import atexit
import fcntl
import json
import multiprocessing
import os
import runpy
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from functools import cache
from multiprocessing import forkserver, resource_tracker
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import Any
from unittest.mock import patch

MODULES = ("lightune.train", "lightune.commands", "pytest", "submitit.core._submit", "torch.distributed.run")
"""What is forked of ``python -m``."""

PYTHON = """#!{python} -IS
import array, json, os, signal, socket, sys
arguments = sys.argv[1 + sum(one in ("-u", "-B") for one in sys.argv[1:3]):]
is_spawned = arguments[1].startswith(("from multiprocessing.spawn ", "from multiprocessing.forkserver "))
if not (arguments[0].endswith(".py") or arguments[0] == "-m" and arguments[1] in {modules} or is_spawned):
    os.execv("{python}", ["{python}", *sys.argv[1:]])
inherited = [int(number) for number in os.listdir("/dev/fd")] if is_spawned else [0, 1, 2]
inherited = [number for number in sorted(inherited) if os.path.exists(f"/dev/fd/{{number}}")]
server = socket.socket(socket.AF_UNIX)
server.connect("{address}")
asked = json.dumps([arguments, os.getcwd(), dict(os.environ), inherited]).encode()
streams = array.array("i", inherited)
server.sendmsg([len(asked).to_bytes(4, "big")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, streams)])
server.sendall(asked)
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
    signal.signal(number, lambda number, _: server.sendall(bytes([number])))
code = int(server.recv(8) or -9)
if code < 0:
    signal.signal(-code, signal.SIG_DFL) if code != -9 else None
    os.kill(os.getpid(), -code)
os._exit(code)
"""
"""A program that asks for a fork, passes signals on to it, and ends as it ends."""


class Streams:
    """Open files of this process, and the numbers that a fork has them under: its standard input, output, error, …"""

    def __init__(self, files: Sequence[Any], numbers: Sequence[int] = (0, 1, 2)) -> None:
        self.files, self.numbers = files, numbers

    def __reduce__(self) -> Any:
        return Streams, (tuple(map(DupFd, self.files)), self.numbers)

    def take(self) -> None:
        """In the fork: give the files their numbers, which others of them may have."""
        copies = []
        for received in (file.detach() for file in self.files):
            copies.append(fcntl.fcntl(received, fcntl.F_DUPFD, 128))
            os.close(received)
        for copy, number in zip(copies, self.numbers, strict=True):
            os.dup2(copy, number)
            os.close(copy)


def fork(arguments: Sequence[str], cwd: str, env: dict[str, str], streams: Streams) -> Any:
    """Start Python as ``arguments`` say: with a script, one of ``MODULES``, or the code that multiprocessing starts."""
    start_server()
    process = multiprocessing.get_context("forkserver").Process(
        target=_main, args=(arguments, cwd, env, streams, python())
    )
    process.start()
    return process


@cache
def start_server() -> None:
    """Start the process that is forked, which imports while this one goes on."""
    multiprocessing.set_forkserver_preload(["preloaded"])
    # processes that a test kills leave semaphores, which it removes in the end
    with patch.dict(os.environ, PYTHONWARNINGS="ignore:resource_tracker"):
        resource_tracker.ensure_running()
    with patch.dict(os.environ, PYTHONPATH=str(Path(__file__).parent)):
        forkserver.ensure_running()


def run(*arguments: str, cwd: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Do what ``subprocess.run`` does with Python, see ``fork``."""
    with (
        tempfile.TemporaryFile("w+") as stdout,
        tempfile.TemporaryFile("w+") as stderr,
        Path(os.devnull).open() as stdin,
    ):
        streams = Streams([file.fileno() for file in (stdin, stdout, stderr)])
        process = fork(arguments, str(cwd), env, streams)
        process.join(timeout=300)
        if process.is_alive():
            process.kill()
            raise subprocess.TimeoutExpired(arguments, 300)
        printed = []
        for file in (stdout, stderr):
            file.seek(0)
            printed.append(file.read())
    return subprocess.CompletedProcess(arguments, process.exitcode, *printed)


@cache
def python() -> str:
    """Write ``PYTHON``, and answer it from now on; return its path, to use in place of ``sys.executable``."""
    folder = Path(os.environ["HF_DATASETS_CACHE"])
    path, address = folder / "python", folder / "socket"
    path.write_text(PYTHON.format(python=sys.executable, address=address, modules=MODULES))
    path.chmod(0o755)
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(address))
    server.listen(64)

    def serve() -> None:
        while True:
            threading.Thread(target=_answer, args=(server.accept()[0],), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    return str(path)


def _answer(client: socket.socket) -> None:
    length, ancillary, *_ = client.recvmsg(4, socket.CMSG_LEN(4 * 250))
    files = array.array("i")
    files.frombytes(ancillary[0][2])
    with client.makefile("rb", buffering=0) as reader:
        left, asked = int.from_bytes(length, "big"), b""
        while len(asked) < left:
            asked += reader.read(left - len(asked))
        arguments, cwd, env, inherited = json.loads(asked)
        process = fork(arguments, cwd, env, Streams(files, inherited))
        for file in files:
            os.close(file)

        def end() -> None:
            process.join()
            client.sendall(b"%d" % process.exitcode)
            client.shutdown(socket.SHUT_RDWR)

        threading.Thread(target=end, daemon=True).start()
        while signals := reader.read(1):
            os.kill(process.pid, signals[0])
    if process.is_alive():
        process.kill()


def _main(arguments: Sequence[str], cwd: str, env: dict[str, str], streams: Streams, python: str) -> None:
    import preloaded

    streams.take()
    # those of the process that this one was forked from may have been files
    encoding = env.get("PYTHONIOENCODING")
    sys.stdin, sys.stdout = (open(file, mode, encoding=encoding, closefd=False) for file, mode in enumerate("rw"))  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    is_module, is_spawned = arguments[0] == "-m", arguments[0] == "-c"
    sys.argv[:] = ["-c", *arguments[2:]] if is_spawned else arguments[is_module:]
    sys.orig_argv[:] = [sys.executable, *arguments]
    if "REAL_RANKS" not in env:
        sys.executable = python
        multiprocessing.set_executable(python)
    first = cwd if is_module else str(Path(arguments[0]).parent)
    sys.path[:] = [first, *filter(None, env.get("PYTHONPATH", "").split(os.pathsep)), *preloaded.PATH]
    try:
        if is_spawned:
            exec(arguments[1])
        elif is_module:
            runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(arguments[0], run_name="__main__")
    except Exception:
        sys.excepthook(*sys.exc_info())
        sys.exit(1)
    finally:
        # multiprocessing leaves them out
        atexit._run_exitfuncs()
