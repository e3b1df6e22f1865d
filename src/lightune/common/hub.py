"""Whether the Hub answers, asked once, so that a machine without it is told so in seconds."""

from functools import cache

import datasets.config
from huggingface_hub import constants, get_session

WAYS_OUT = (
    "  a local folder: {option}=DIR (the same files as on the Hub)\n"
    "  the quickstart: python train.py (embedded model and data, no Hub needed)"
)


@cache
def use_hub_or_cache() -> bool:
    """Return whether the Hub answers; if it does not, let both libraries read their caches only.

    Left to themselves they retry every file for half a minute before they give up.
    """
    if not constants.HF_HUB_OFFLINE:
        try:
            get_session().head(constants.ENDPOINT, timeout=10)
            return True
        except Exception:  # of whichever HTTP client the Hub's library uses: no answer is no Hub
            constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
    return False
