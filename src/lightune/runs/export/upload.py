"""A folder goes to the Hub, by the Hub's own client."""

import os
from pathlib import Path

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from lightune.common.errors import UserError

TOKEN = "HF_TOKEN"


def check_upload(name: str) -> None:
    """Raise a UserError, before the export, for a missing token, or names that the Hub does not know."""
    if not os.environ.get(TOKEN):
        raise UserError(
            f"--push-to-hub {name} needs a token of the Hub that may write, in the environment variable {TOKEN}.\n"
            f"Nothing was exported. {TOKEN}=… lightune export …"
        )
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise UserError(
            f"--push-to-hub {name}: {str(error).splitlines()[0]}\nExpected a name such as somebody/reviews-minilm."
        ) from error


def upload(folder: Path, *, name: str) -> str:
    """Write a folder into a repository of the Hub, a new and private one where there is none by that name.

    Returns:
        Where it can be read.

    Raises:
        UserError: the Hub refuses, or cannot be reached; the folder stays.
    """
    api = HfApi(token=os.environ[TOKEN])
    try:
        repository = api.create_repo(name, private=True, exist_ok=True)
        api.upload_folder(repo_id=repository.repo_id, folder_path=folder, commit_message="Export a fine-tuned model")
    except (HfHubHTTPError, OSError, ValueError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")[:300]
        raise UserError(
            f"{folder} is written, but the Hub did not take it: {reason}.\n"
            f"Is {TOKEN} one that may write to {name}? To try again with the Hub's own tool: hf upload {name} {folder}"
        ) from error
    return str(repository)
