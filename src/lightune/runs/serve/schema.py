"""The bodies of requests and replies."""

from typing import Annotated, Any

from pydantic import AfterValidator, AliasChoices, AliasPath, BaseModel, BeforeValidator, Field, StringConstraints

MAX_TEXTS = 256  # of a request
MAX_CHARACTERS = 50_000  # of a text


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("a text is empty")
    return text


def _as_list(value: Any) -> Any:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts:
        raise ValueError("expected a text or a list of texts")
    if len(texts) > MAX_TEXTS:
        raise ValueError(f"expected {MAX_TEXTS} texts or fewer, not {len(texts):,}")
    return texts


Text = Annotated[str, StringConstraints(strict=True, max_length=MAX_CHARACTERS), AfterValidator(_not_blank)]
Texts = Annotated[list[Text], BeforeValidator(_as_list, json_schema_input_type=str | list[str])]
TEXT = AliasChoices("text", "question")
PAIR = AliasChoices("text_pair", "context")


class PredictRequest(BaseModel, extra="forbid"):
    """One text or several; as many second texts where the run reads pairs or questions."""

    text: Texts = Field(validation_alias=TEXT, description="A text or a list; also called `question`.")
    text_pair: Texts | None = Field(None, validation_alias=PAIR, description="Also called `context`.")


class SingleRequest(BaseModel, extra="forbid"):
    """One text, with its second text where the run reads pairs."""

    text: Text = Field(validation_alias=TEXT, description="Also called `question`.")
    text_pair: Text | None = Field(None, validation_alias=PAIR, description="Also called `context`.")


class ExplainRequest(SingleRequest):
    """A text to explain."""

    target: Annotated[str, StringConstraints(strict=True, max_length=1000)] | None = Field(
        None, description="The label to explain; by default the predicted one."
    )


class Predictions(BaseModel):
    """One prediction for each text, as `lightune predict` writes it."""

    predictions: list[dict[str, Any]]


class Word(BaseModel, from_attributes=True):
    """A word and its contribution to the label's log-odds."""

    text: str
    column: int = Field(validation_alias=AliasPath("place", "text"))
    start: int = Field(validation_alias=AliasPath("place", "start"))
    end: int = Field(validation_alias=AliasPath("place", "end"))
    score: float | None = Field(description="null: the model did not read the word")
    explained: bool = Field(description="whether the label is this word's own")


class Explanation(BaseModel, from_attributes=True):
    """Why a label was predicted: integrated gradients. The scores add up to `output - baseline`, but for `delta`."""

    label: str
    probability: float | None
    labelled: str
    output: float
    baseline: float
    delta: float
    steps: int
    converged: bool
    words: list[Word]


class Explanations(BaseModel):
    """One explanation for each predicted label or entity."""

    explanations: list[Explanation]


class RunDescription(BaseModel):
    """What the run reads and predicts."""

    task: str
    columns: list[str] = Field(description="the columns that a prediction reads")
    labels: list[str]
    explains: bool
    streams: bool


class Problem(BaseModel):
    """What was wrong with a request."""

    detail: str
