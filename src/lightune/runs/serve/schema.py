"""What requests and replies hold."""

from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
)

MAX_TEXTS = 256  # of a request
MAX_CHARACTERS = 50_000  # of a text


def _filled(text: str) -> str:
    if not text.strip():
        raise ValueError("a text is empty")
    return text


def _listed(value: Any) -> Any:
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list) or not listed:
        raise ValueError("expected a text or a list of texts")
    if len(listed) > MAX_TEXTS:
        raise ValueError(f"expected {MAX_TEXTS} texts or fewer, not {len(listed):,}")
    return listed


Text = Annotated[str, StringConstraints(strict=True, max_length=MAX_CHARACTERS), AfterValidator(_filled)]
Texts = Annotated[list[Text], BeforeValidator(_listed, json_schema_input_type=str | list[str])]
TEXT = AliasChoices("text", "question")
PAIR = AliasChoices("text_pair", "context")


class PredictRequest(BaseModel):
    """One text or several; for runs on pairs, or questions, as many second texts."""

    model_config = ConfigDict(extra="forbid")
    text: Texts = Field(validation_alias=TEXT, description="A text, or a list; also called `question`.")
    text_pair: Texts | None = Field(None, validation_alias=PAIR, description="Also called `context`.")


class OneRequest(BaseModel):
    """One text, with its second text where the run reads pairs."""

    model_config = ConfigDict(extra="forbid")
    text: Text = Field(validation_alias=TEXT, description="Also called `question`.")
    text_pair: Text | None = Field(None, validation_alias=PAIR, description="Also called `context`.")


class ExplainRequest(OneRequest):
    """A text to explain."""

    target: Annotated[str, StringConstraints(strict=True, max_length=1000)] | None = Field(
        None, description="The label to explain; what is predicted where it is left out."
    )


class Predictions(BaseModel):
    """As `lightune predict` writes them, one a text."""

    predictions: list[dict[str, Any]]


class Word(BaseModel):
    """A word and what it added to the log-odds of the label."""

    text: str
    column: int
    start: int
    end: int
    score: float | None = Field(description="null: not read")
    explained: bool = Field(description="whether the label is this word's own")


class Explanation(BaseModel):
    """Why a label was given: integrated gradients; the scores add up to `output - baseline`, but for `delta`."""

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
    """One; for several labels or entities one each."""

    explanations: list[Explanation]


class Described(BaseModel):
    """What the run does."""

    task: str
    columns: list[str] = Field(description="what a prediction reads")
    labels: list[str]
    explains: bool
    streams: bool


class Problem(BaseModel):
    """What was wrong with a request."""

    detail: str
