"""Silence messages of libraries that come on every run and need no action; errors and real warnings stay."""

import logging
import sys
import warnings

import datasets
import lightning  # noqa: F401 - its import sets the levels of its loggers, and must come first
import transformers

HARMLESS = (
    ".*does not have many workers.*",  # batches are collated in milliseconds
    ".*Experiment logs directory .* exists.*",  # metrics.csv lies in the run folder, which exists
    ".*your dataloader is not resumable.*",  # the DataModule restores its position
    ".*Checkpoint directory .* exists and is not empty.*",
    ".*The number of training batches .* is smaller than the logging interval.*",
    ".*module\\(s\\) in eval mode at the start of training.*",  # frozen modules, on purpose
    ".*sync_dist=True.*",  # logged values come from metrics, which are the same on every device
    ".*isinstance\\(treespec, LeafSpec\\).*",
)


def quiet() -> None:
    """Call it once, before models are loaded."""
    # its load report lists the new head's weights as missing
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    if not sys.stderr.isatty():
        # a progress bar in a log file is a line for each of its states
        datasets.disable_progress_bars()
    # rouge-score logs by absl
    for logger in ("lightning.pytorch", "lightning.fabric", "absl"):
        logging.getLogger(logger).setLevel(logging.WARNING)
    # it logs the errors that it raises
    logging.getLogger("datasets.packaged_modules").setLevel(logging.CRITICAL)
    for message in HARMLESS:
        warnings.filterwarnings("ignore", message)
