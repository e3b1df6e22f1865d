"""Run Python in a process that is forked from one that has imported what training needs: that saves seconds each time."""

import atexit
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

# what train.py imports, some of it only after it has checked its options
PRELOAD = [
    "datasets", "lightning", "matplotlib", "peft", "scipy.optimize", "torchmetrics", "transformers",
    "transformers.models.bert.modeling_bert", "lightune.train", "lightune.data", "lightune.tasks",
    "lightune.training.build_run", "lightune.training.calibrate", "lightune.training.callbacks",
    "lightune.training.environment", "lightune.training.measure_pretrained", "lightune.training.results",
]  # fmt: skip


def run(*arguments: str, cwd: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Do what ``subprocess.run`` does with Python and a script or ``-m`` module, for variables that no import reads."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    with tempfile.TemporaryDirectory() as folder:
        printed = [str(Path(folder, name)) for name in ("stdout", "stderr")]
        process = context.Process(target=_main, args=(arguments, str(cwd), env, printed))
        process.start()
        process.join(timeout=300)
        if process.is_alive():
            process.kill()
            raise subprocess.TimeoutExpired(arguments, 300)
        stdout, stderr = (Path(path).read_text() for path in printed)
    return subprocess.CompletedProcess(arguments, process.exitcode, stdout, stderr)


def _main(arguments: Sequence[str], cwd: str, env: dict[str, str], printed: Sequence[str]) -> None:
    for number, path in enumerate(printed, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    is_module = arguments[0] == "-m"
    sys.argv[:] = arguments[is_module:]
    sys.orig_argv[:] = [sys.executable, *arguments]
    first = cwd if is_module else str(Path(arguments[0]).parent)
    sys.path[:0] = [first, *filter(None, env.get("PYTHONPATH", "").split(os.pathsep))]
    try:
        if is_module:
            runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(arguments[0], run_name="__main__")
    except Exception:
        sys.excepthook(*sys.exc_info())
        sys.exit(1)
    finally:
        # multiprocessing leaves them out
        atexit._run_exitfuncs()
