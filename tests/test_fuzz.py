"""Any text goes the whole way, or its row is refused by name: no other exception, no NaN, no row lost."""

import json
import math
import re
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow
import pytest
import torch
from conftest import WORDS, save_tokenizer
from datasets import Dataset
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaModel,
    T5Config,
    T5ForConditionalGeneration,
)

from lightune import data, tasks
from lightune.common.errors import UserError
from lightune.models.pretrained import PretrainedModel
from lightune.tuning import freezing
from lightune.tuning.optimizer_and_schedule import schedule
from lightune.tuning.recipe import Recipe

# fmt: off
AWKWARD = [
    "\0", "\x1b[31m", "\x85", "\u200b", "\ufeff", "\u202e", "\u2028", "\xa0", " ", "\n", "\t", "\r\n",
    "שָׁלוֹם", "العَرَبِيَّة", "हिन्दी", "e\u0301\u0323", "한국어", "日本", "ﬁ", "İ", "ß", "👩‍👩‍👧‍👦", "🇩🇪", "\U0010ffff",
    "[MASK]", "[SEP]", "[PAD]", "<|im_end|>", "a" * 101, "{{ x }}", "'", '"', "A: ", "x : y", *WORDS["positive"],
]
# fmt: on
PIECES = st.one_of(st.sampled_from(AWKWARD), st.text(max_size=4))
TEXTS = st.one_of(*(st.lists(PIECES, max_size=12).map(between.join) for between in ("", " ")))
LONG = "good film 👩‍👩‍👧‍👦 " * 5600  # more than 100,000 characters
LABELS = {
    "one": st.sampled_from(["no", "yes", " yes\n"]),
    "several": st.lists(st.sampled_from(["no", "yes"]), max_size=3),
    "number": st.floats(-1e6, 1e6),
}
TAGGED = st.tuples(PIECES, st.sampled_from(["O", "B-PER", "I-PER", "B-LOC", "S-LOC", "PER"]))
NOTHING: dict[str, Any] = {"text": [], "answer_start": []}
MESSAGES = st.fixed_dictionaries({"role": st.sampled_from(["system", "user", "assistant"]), "content": TEXTS})
DIALOGUES = st.one_of(TEXTS, st.lists(TEXTS, max_size=4), st.lists(MESSAGES, max_size=4))


@st.composite
def questions(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a context with an answer anywhere in it, at its very edges too, its start a little off or not."""
    context = draw(TEXTS)
    start, end = sorted(draw(st.integers(0, len(context))) for _ in range(2))
    found = {"text": [context[start:end]], "answer_start": [start + draw(st.integers(-3, 3))]}
    answers = found if context[start:end].strip() else NOTHING
    return {"question": draw(TEXTS), "context": context, "answers": answers}


few = settings(
    max_examples=10,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def up_to_four(row: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(row, min_size=1, max_size=4)


class Way:
    """A task and its preprocessor, and the way of rows through them."""

    def __init__(self, name: str, folder: Path, *, fitted_to: list[dict[str, Any]] | None = None, **options: Any):
        torch.manual_seed(0)
        pretrained = PretrainedModel(pretrained_model_name_or_path=str(folder))
        of_task = options.pop("task", {})
        preprocessor = getattr(data, f"{'Dialogue' if name == 'CausalLM' else name}Preprocessor")
        self.preprocessor = preprocessor(tokenizer=pretrained.load_tokenizer(), **options)
        if fitted_to is not None:
            self.preprocessor.fit(Dataset.from_list(fitted_to))
        self.task = getattr(tasks, name)(
            pretrained=pretrained,
            head=self.preprocessor.head,
            recipe=Recipe(
                tuning=freezing.full,
                optimizer=partial(torch.optim.SGD, lr=0.1),
                scheduler=partial(schedule, name="linear", warmup_ratio=0.0),
            ),
            **of_task,
        )

    def whole(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Train on rows, measure them, predict for them; return the predictions, none where a row was refused."""
        try:
            train, held_out = (self._batch(rows, split=split) for split in ("train", "validation"))
        except UserError as error:
            return refused(error)
        self.task.train().zero_grad()
        loss, _ = self.task.loss(self.task(train), train)
        loss.backward()
        assert math.isfinite(loss.item())
        assert all(p.grad.isfinite().all() for p in self.task.parameters() if p.grad is not None)
        self.task.eval().on_validation_epoch_start()
        with torch.no_grad():
            self.task._evaluate(self.task.val, held_out)
        figures = self.task.val.scalars()
        assert [name for name, value in figures.items() if not value.isfinite()] == []
        return self.predict(rows)

    def predict(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        try:
            batch = self._batch(rows, split="predict")
        except UserError as error:
            return refused(error)
        with torch.no_grad():
            predictions = self.task.eval().predict_step(batch, 0)
        assert len(predictions) == len(rows)
        json.dumps(predictions, allow_nan=False, ensure_ascii=False).encode()
        return predictions

    def _batch(self, rows: list[dict[str, Any]], *, split: str) -> dict[str, Any]:
        prepared = self.preprocessor.prepare(Dataset.from_list(rows), split=split, labelled=split != "predict")
        features = self.preprocessor(prepared.to_dict(), training=split == "train")
        return self.preprocessor.collate(pyarrow.table(features).to_pylist())


def refused(error: UserError) -> list[dict[str, Any]]:
    """The message is short and says which row it is about."""
    assert re.search(r"\brow \d|Text \d", str(error)), error
    assert len(str(error).splitlines()) <= 5
    return []


def lies_in(text: str, found: dict[str, Any], *, name: str) -> bool:
    return 0 <= found["start"] < found["end"] <= len(text) and text[found["start"] : found["end"]] == found[name]


def of_bytes(folder: Path) -> Path:
    """Save a RoBERTa that reads bytes, several of which are one character."""
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokens = [*special, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    backend = Tokenizer(models.BPE({token: index for index, token in enumerate(tokens)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", cls_token="<s>", eos_token="</s>", sep_token="</s>",
        unk_token="<unk>", pad_token="<pad>", mask_token="<mask>", model_max_length=64,
    ).save_pretrained(folder)  # fmt: skip
    size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    config = RobertaConfig(vocab_size=len(tokens), **size, max_position_embeddings=66, pad_token_id=1)
    RobertaModel(config).save_pretrained(folder)
    return folder


def that_writes(folder: Path, model: Any) -> Path:
    tokenizer = save_tokenizer(folder)
    tokenizer.eos_token = "[SEP]"
    if isinstance(model, GPT2LMHeadModel):
        tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
        tokenizer.chat_template = (
            "{% for m in messages %}<|im_start|>{{ m['role'] }} {{ m['content'] }}<|im_end|>{% endfor %}"
            "{% if add_generation_prompt %}<|im_start|>assistant {% endif %}"
        )
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folders(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Tiny models: one of words, one of bytes, one that reads and writes, one that chats."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models")
    t5 = T5Config(
        vocab_size=90, d_model=32, d_kv=16, d_ff=64, num_layers=1, num_heads=2, decoder_start_token_id=0, eos_token_id=3
    )  # fmt: skip
    gpt2 = GPT2Config(vocab_size=90, n_positions=64, n_embd=32, n_layer=1, n_head=2, eos_token_id=3)
    return {
        "words": tiny_bert,
        "bytes": of_bytes(folder / "bytes"),
        "t5": that_writes(folder / "t5", T5ForConditionalGeneration(t5)),
        "chat": that_writes(folder / "chat", GPT2LMHeadModel(gpt2)),
    }


@pytest.mark.parametrize("columns", [["text"], ["text", "pair"]])
@pytest.mark.parametrize(
    ("kind", "two"), [("one", ["no", "yes"]), ("several", [["no"], ["yes"]]), ("number", [0.5, 1.0])]
)
def test_text_classification(tiny_bert: Path, kind: str, two: list[Any], columns: list[str]):
    way = Way(
        "TextClassification", tiny_bert, text_columns=columns, label_column="label", label_names=None, max_length=32,
        truncation="head_tail" if len(columns) == 1 else "head",
        fitted_to=[{"text": "", "pair": "", "label": label} for label in two],
    )  # fmt: skip

    @few
    @example([{"text": LONG, "pair": LONG, "label": two[0]}])
    @given(up_to_four(st.fixed_dictionaries({"text": TEXTS, "pair": TEXTS, "label": LABELS[kind]})))
    def run(rows):
        assert len(way.whole(rows)) == len(rows)

    run()


@pytest.mark.parametrize("model", ["words", "bytes"])
def test_token_classification(folders: dict[str, Path], model: str):
    way = Way(
        "TokenClassification", folders[model], tokens_column="tokens", label_column="tags", max_length=32, doc_stride=5,
        fitted_to=[{"tokens": ["a", "b"], "tags": ["B-PER", "B-LOC"]}],
    )  # fmt: skip

    @few
    @example([[]])
    @example([[("", "O"), ("", "B-PER")], [("\0", "I-PER")]])
    @example([[(word, "O") for word in LONG.split(" ")[:2000]]])
    @given(up_to_four(st.lists(TAGGED, max_size=12)))
    def run(drawn):
        rows = [{"tokens": [word for word, _ in row], "tags": [tag for _, tag in row]} for row in drawn]
        predictions = way.whole(rows)
        texts = [" ".join(row["tokens"]) for row in rows]
        assert [prediction["text"] for prediction in predictions] == texts
        raw = way.predict([{"tokens": text} for text in texts])
        for text, *both in zip(texts, predictions, raw, strict=True):
            assert all(lies_in(text, e, name="text") for prediction in both for e in prediction["entities"])

    run()


@pytest.mark.parametrize(("model", "doc_stride"), [("words", 4), ("bytes", 11)])  # 11 is all that there is room for
def test_question_answering(folders: dict[str, Path], model: str, doc_stride: int):
    way = Way(
        "QuestionAnswering", folders[model], question_column="question", context_column="context",
        answers_column="answers", version_2_with_negative=True, max_length=32, doc_stride=doc_stride,
        task={"version_2_with_negative": True, "n_best_size": 4, "max_answer_length": 8, "null_score_diff_threshold": 0.0},
    )  # fmt: skip

    @few
    @example([{"question": "", "context": "", "answers": NOTHING}])
    @example([{"question": LONG, "context": LONG[: 10_000 if model == "words" else 50], "answers": NOTHING}])
    @example([{"question": "각" * 30, "context": "각" * 30, "answers": {"text": ["각"], "answer_start": [29]}}])
    @given(up_to_four(questions()))
    def run(rows):
        predictions = way.whole(rows)
        for row, prediction in zip(rows, predictions, strict=True):
            for found in [prediction, *prediction["n_best"]]:
                nowhere = found["answer"] == "" and found["start"] is None
                assert nowhere or lies_in(row["context"], found, name="answer")

    run()


WRITING = {"monitor": ["val/loss", "min"], "generation": {"max_new_tokens": 4, "num_beams": 2}}


@pytest.mark.parametrize(("model", "metrics"), [("words", ["bleu", "chrf"]), ("t5", ["rouge"])])
def test_translation_and_summarization(folders: dict[str, Path], model: str, metrics: list[str]):
    way = Way(
        "Seq2Seq", folders[model], source_column="source", target_column="target", max_length=16, max_target_length=12,
        source_prefix=None, source_lang=None, target_lang=None, task={"metrics": metrics, **WRITING},
    )  # fmt: skip

    @few
    @example([{"source": "", "target": ""}])
    @example([{"source": LONG, "target": LONG}])
    @given(up_to_four(st.fixed_dictionaries({"source": TEXTS, "target": TEXTS})))
    def run(rows):
        assert len(way.whole(rows)) == len(rows)

    run()


@pytest.mark.parametrize("model", ["words", "chat"])
def test_dialogue(folders: dict[str, Path], model: str):
    metrics = ["bleu", "distinct1", "distinct2"]
    way = Way(
        "CausalLM",
        folders[model],
        dialogue_column="messages",
        max_length=16,
        task={"metrics": metrics, **WRITING},
    )

    @few
    @example(["", LONG, ""])
    @example([{"role": "user", "content": ""}, {"role": "assistant", "content": ""}])
    @given(DIALOGUES)
    def run(dialogue):
        way.whole([{"messages": dialogue}] * 2)

    run()


def test_masked_lm(tiny_bert: Path):
    way = Way("MaskedLM", tiny_bert, text_columns=["text"], max_length=16, mlm_probability=0.15)

    @few
    @example([""], "")
    @example([LONG], LONG)
    @given(up_to_four(TEXTS), TEXTS)
    def run(texts, beside):
        way.whole([{"text": text} for text in texts])  # few hold a mask to predict for
        predictions = way.predict([{"text": f"{text}[MASK]{beside}"[:40]} for text in texts])
        assert all(prediction["masks"] for prediction in predictions)

    run()
