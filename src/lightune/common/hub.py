"""Whether the Hub can be reached: asked once, so that a machine without it fails in seconds."""

from functools import cache

import datasets.config
from huggingface_hub import constants, get_session

WAYS_OUT = (
    "  a local folder: {option}=DIR (the same files as on the Hub)\n"
    "  the quickstart: python train.py (embedded model and data, no Hub needed)"
)


@cache
def use_hub_or_cache() -> bool:
    """Return whether the Hub answers; if not, both libraries read only their caches, without half a minute of retries."""
    if not constants.HF_HUB_OFFLINE:
        try:
            get_session().head(constants.ENDPOINT, timeout=10)
            return True
        # errors depend on the HTTP client; any means that there is no Hub
        except Exception:
            constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
    return False
