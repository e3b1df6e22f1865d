"""Silence what libraries say on every run and nobody can act on; errors and real warnings stay."""

import logging
import sys
import warnings

import datasets
import lightning  # noqa: F401 - its import sets the level of its loggers, which must come first
import transformers

HARMLESS = (
    ".*does not have many workers.*",  # batches are collated in milliseconds
    ".*Experiment logs directory .* exists.*",  # metrics.csv lies in the run folder, which exists
    ".*your dataloader is not resumable.*",  # the DataModule starts it where the run was
    ".*Checkpoint directory .* exists and is not empty.*",
    ".*The number of training batches .* is smaller than the logging interval.*",
    ".*module\\(s\\) in eval mode at the start of training.*",  # what is frozen, on purpose
    ".*sync_dist=True.*",  # what is logged comes from metrics, which are the same on every device
    ".*isinstance\\(treespec, LeafSpec\\).*",
)


def quiet() -> None:
    """Call once, before models are loaded."""
    transformers.logging.set_verbosity_error()  # its load report lists the new head's weights as missing
    transformers.logging.disable_progress_bar()
    if not sys.stderr.isatty():
        datasets.disable_progress_bars()  # a bar in a log file is a line for each of its states
    for logger in ("lightning.pytorch", "lightning.fabric", "absl"):  # absl speaks for rouge-score
        logging.getLogger(logger).setLevel(logging.WARNING)
    logging.getLogger("datasets.packaged_modules").setLevel(logging.CRITICAL)  # it raises what it has logged
    for message in HARMLESS:
        warnings.filterwarnings("ignore", message)
