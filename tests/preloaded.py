"""What a process has done already when it is forked, see ``forked``. No thread is started: a fork would lose it."""

import os
import sys
from importlib import import_module

# of a Python that was started without PYTHONPATH
PATH = [entry for entry in sys.path if entry and entry not in os.environ["PYTHONPATH"].split(os.pathsep)]

# what train.py imports, some of it only after it has checked its options
for name in (
    "datasets", "lightning", "matplotlib", "peft", "scipy.io", "scipy.optimize", "threadpoolctl", "torch.distributed.run",
    "torchmetrics", "transformers", "transformers.models.bert.modeling_bert", "lightune.train", "lightune.data",
    "lightune.runs.ensemble", "lightune.sweeps.jobs", "lightune.sweeps.leaderboard", "lightune.tasks",
    "lightune.training.build_run", "lightune.training.calibrate", "lightune.training.callbacks",
    "lightune.training.environment", "lightune.training.measure_pretrained", "lightune.training.results",
):  # fmt: skip
    import_module(name)

from hydra import compose, initialize_config_dir  # noqa: E402
from transformers.conversion_mapping import get_checkpoint_conversion_mapping  # noqa: E402

from lightune.train import CONF  # noqa: E402

# the first time, these compile grammars and patterns
with initialize_config_dir(str(CONF), version_base="1.3"):
    compose("train", ["data=local"])
get_checkpoint_conversion_mapping("bert")
