"""Lines of Python that use an exported model, which needs nothing of this package."""

from typing import Any, NamedTuple


class Usage(NamedTuple):
    """What a model card shows between loading the model and the end."""

    inputs: str
    """The call that makes the model's inputs of example texts."""

    output: str
    """Lines that print what the task's ``onnx_outputs`` or ``logits`` say, or the tokens ``written`` where it streams;
    the same lines must work for PyTorch and for NumPy."""


def tokenizer_call(preprocessor: Any, texts: str, *, tensors: str, truncation: str = "True", options: str = "") -> str:
    """Return a call of the tokenizer that reads texts as the preprocessor does.

    ``texts``, ``truncation`` and further ``options``, each with a comma and a space after it, are as they are typed;
    ``tensors`` is ``pt`` or ``np``. The preprocessor has ``max_length``.
    """
    return (
        f"tokenizer({texts}, truncation={truncation}, max_length={preprocessor.max_length}, {options}padding=True, "
        f'return_tensors="{tensors}")'
    )
