"""Explanations of tiny random models: what each word adds, on every architecture, head and task."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from captum.attr import LayerIntegratedGradients
from conftest import save_tokenizer
from torch import Tensor, nn
from transformers import AutoTokenizer

from lightune.common.errors import UserError
from lightune.data import (
    QuestionAnsweringPreprocessor,
    TextClassificationPreprocessor,
    TokenClassificationPreprocessor,
)
from lightune.data.preprocessors.base import encode
from lightune.data.preprocessors.labels import MULTI, REGRESSION, SINGLE, Labels
from lightune.models import cpu
from lightune.models.pretrained import PretrainedModel
from lightune.runs.explain import Explanation, explain, gradients
from lightune.tasks import QuestionAnswering, TextClassification, TokenClassification
from lightune.tasks.base import Task
from lightune.tuning import freezing
from lightune.tuning.lora import lora
from lightune.tuning.recipe import Recipe

pytestmark = pytest.mark.slow

TEXT = "the film is a superb story, and qx very lovely"
WORDS = ["the", "film", "is", "a", "superb", "story", ",", "and", "qx", "very", "lovely"]
FAMILIES = ["bert", "distilbert", "roberta", "albert", "electra", "deberta-v2", "modernbert", "gpt2"]
RECIPE: Any = partial(Recipe, tuning=freezing.full, optimizer=None, scheduler=None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory):
    """Save a random model of a family, whose weights are large enough to make a difference, with its tokenizer."""
    made: dict[str, Path] = {}

    def save(family: str) -> Path:
        if family not in made:
            made[family] = tmp_path_factory.mktemp(family)
            tokenizer = save_tokenizer(made[family])
            torch.manual_seed(0)
            config = transformers.AutoConfig.for_model(
                family,
                vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
                intermediate_size=64, embedding_size=16, max_position_embeddings=64, pad_token_id=0, cls_token_id=2,
                bos_token_id=2, sep_token_id=3, eos_token_id=3, local_attention=4, initializer_range=0.1,
                relative_attention=True, pos_att_type=["c2p", "p2c"],
            )  # fmt: skip
            transformers.AutoModel.from_config(config).save_pretrained(made[family])
        return made[family]

    cpu.speed_up()  # the attention that the command runs with
    return save


def shaken(task: Task) -> Task:
    """Give new heads and adapters weights that make a difference."""
    torch.manual_seed(1)
    for name, parameter in task.model.named_parameters():
        is_head = parameter.dim() == 2 and any(part in name for part in ("classif", "qa_outputs", "score"))
        if "lora_B" in name or is_head:
            nn.init.normal_(parameter, std=0.3)
    return task


def classification(
    folder: Path, *, problem_type: str = SINGLE, columns: int = 1, pooling: Any = None, **settings: Any
) -> tuple[Task, TextClassificationPreprocessor]:
    names = ["value"] if problem_type == REGRESSION else ["bad", "fair", "good"]
    task = TextClassification(
        pretrained=PretrainedModel(pretrained_model_name_or_path=str(folder), pooling=pooling),
        head=Labels(names=names, problem_type=problem_type).head,
        recipe=RECIPE(**{name: settings.pop(name) for name in ("tuning",) if name in settings}),
    )
    preprocessor = TextClassificationPreprocessor(
        **{
            "tokenizer": AutoTokenizer.from_pretrained(folder), "text_columns": ["a", "b"][:columns],
            "label_column": "label", "label_names": None, "max_length": 32, "truncation": "head", **settings,
        }
    )  # fmt: skip
    return shaken(task), preprocessor


def entities(folder: Path) -> tuple[Task, TokenClassificationPreprocessor]:
    tags = ["O", "B-person", "I-person", "B-place", "I-place"]
    task = TokenClassification(
        pretrained=PretrainedModel(pretrained_model_name_or_path=str(folder)),
        head={
            "num_labels": 5,
            "id2label": dict(enumerate(tags)),
            "label2id": {t: i for i, t in enumerate(tags)},
        },
        recipe=RECIPE(),
    )
    preprocessor = TokenClassificationPreprocessor(
        tokenizer=AutoTokenizer.from_pretrained(folder), tokens_column="tokens", label_column="tags", max_length=16,
        doc_stride=4,
    )  # fmt: skip
    return shaken(task), preprocessor


def answers(folder: Path, *, none: bool = False) -> tuple[Task, QuestionAnsweringPreprocessor]:
    task = QuestionAnswering(
        pretrained=PretrainedModel(pretrained_model_name_or_path=str(folder)), head={}, version_2_with_negative=none,
        n_best_size=5, max_answer_length=4, null_score_diff_threshold=-100.0 if none else 0.0, recipe=RECIPE(),
    )  # fmt: skip
    preprocessor = QuestionAnsweringPreprocessor(
        tokenizer=AutoTokenizer.from_pretrained(folder), question_column="question", context_column="context",
        answers_column="answers", version_2_with_negative=none, max_length=24, doc_stride=4,
    )  # fmt: skip
    return shaken(task), preprocessor


def assert_adds_up(explanation: Explanation) -> None:
    total = sum(word.score or 0 for word in explanation.words)
    difference = explanation.output - explanation.baseline
    assert explanation.converged
    assert abs(total - difference) <= 0.05 * abs(difference)
    assert total - difference == pytest.approx(explanation.delta, abs=1e-4)


def by_hand(task: Any, ids: Tensor, baseline: Tensor, label: int, *, steps: int = 500) -> Tensor:
    """Integrated gradients from their definition: midpoints, the embeddings given as such, eager attention, float64."""
    model = task.model.double().eval()
    base = model.base_model
    base.set_attn_implementation("eager")
    layer = base.get_input_embeddings()
    start, end = layer(baseline).detach(), layer(ids).detach()
    total = torch.zeros_like(end)
    for step in range(steps):
        embedded = (start + (step + 0.5) / steps * (end - start)).requires_grad_()
        segments = {"token_type_ids": torch.zeros_like(ids)} if base.config.model_type == "gpt2" else {}
        logits = model(inputs_embeds=embedded, attention_mask=torch.ones_like(ids), **segments).logits[0]
        others = torch.cat([logits[:label], logits[label + 1 :]])
        total += torch.autograd.grad(logits[label] - others.logsumexp(0), embedded)[0] / steps
    return (total * (end - start)).sum(-1)[0]


@pytest.mark.parametrize("family", FAMILIES)
def test_scores_are_integrated_gradients_by_definition(folder, family: str):
    task, preprocessor = classification(folder(family))
    (found,) = explain(task, preprocessor, [TEXT])
    assert_adds_up(found)
    assert [word.text for word in found.words] == WORDS
    encoded = preprocessor.tokenizer(TEXT, return_special_tokens_mask=True, return_tensors="pt")
    special = encoded["special_tokens_mask"]
    baseline = encoded["input_ids"].where(special == 1, preprocessor.tokenizer.pad_token_id)
    label = task.label_names.index(found.label)
    tokens = by_hand(task, encoded["input_ids"], baseline, label)
    words = torch.zeros(len(WORDS)).double()
    for token, place in enumerate(preprocessor.locate_tokens([TEXT])[0]):
        if place is None:
            assert tokens[token] == 0  # what the tokenizer has added is the same in the baseline
        else:
            at = next(i for i, word in enumerate(found.words) if word.place.start <= place.start < word.place.end)
            words[at] += tokens[token]
    scores = torch.tensor([word.score for word in found.words]).double()
    torch.testing.assert_close(scores, words, rtol=0.02, atol=0.02 * float(words.abs().max()))


def test_scores_are_those_of_captums_own_layer_method(folder):
    task, preprocessor = classification(folder("bert"))
    (found,) = explain(task, preprocessor, ["good film"])
    ids = preprocessor.tokenizer("good film", return_tensors="pt")["input_ids"]
    label = task.label_names.index(found.label)

    def log_odds(ids: Tensor) -> Tensor:
        logits = task.model.eval()(ids).logits
        return logits[:, label] - logits[:, [i for i in range(3) if i != label]].logsumexp(1)

    method = LayerIntegratedGradients(log_odds, task.model.get_input_embeddings())
    scores = method.attribute(ids, baselines=torch.tensor([[2, 0, 0, 3]]), n_steps=found.steps)
    assert scores.sum(-1)[0, 1:3].tolist() == pytest.approx([w.score for w in found.words], abs=1e-5)


@pytest.mark.parametrize("settings", [{"pooling": "mean"}, {"pooling": "cls"}, {"tuning": partial(
    lora, r=2, alpha=4, dropout=0.5, target_modules="all-linear", use_rslora=False, use_dora=True)}])  # fmt: skip
def test_pooled_heads_and_adapters(folder, settings: dict[str, Any]):
    task, preprocessor = classification(folder("bert"), **settings)
    task.train()
    moving = [name for name, parameter in task.named_parameters() if parameter.requires_grad]
    first, again = (explain(task, preprocessor, [TEXT])[0] for _ in range(2))
    assert_adds_up(first)
    assert first == again  # without dropout
    assert all(module.training for module in task.modules())
    assert moving == [name for name, parameter in task.named_parameters() if parameter.requires_grad]


@pytest.mark.parametrize("family", ["roberta", "deberta-v2", "modernbert", "distilbert"])
def test_entities_of_every_family(folder, family: str):
    task, preprocessor = entities(folder(family))
    for found in explain(task, preprocessor, [TEXT]):
        assert_adds_up(found)


def test_a_label_that_is_wanted_is_explained(folder):
    task, preprocessor = classification(folder("bert"))
    found = {name: explain(task, preprocessor, [TEXT], target=name)[0] for name in task.label_names}
    assert sum(one.probability for one in found.values()) == pytest.approx(1)
    for one in found.values():
        assert_adds_up(one)
        assert one.output == pytest.approx(np.log(one.probability / (1 - one.probability)), abs=1e-4)
    with pytest.raises(UserError, match="no such label. Did you mean 'good'"):
        explain(task, preprocessor, [TEXT], target="goof")


def test_several_labels_at_once_are_explained_one_by_one(folder):
    task, preprocessor = classification(folder("bert"), problem_type=MULTI)
    wanted = [explain(task, preprocessor, [TEXT], target=name)[0] for name in task.label_names]
    given = [one for one in wanted if one.probability >= 0.5]
    assert explain(task, preprocessor, [TEXT]) == (given or [max(wanted, key=lambda one: one.probability)])
    for one in wanted:
        assert_adds_up(one)


def test_a_regression_is_explained_in_its_own_unit(folder):
    task, preprocessor = classification(folder("bert"), problem_type=REGRESSION)
    (found,) = explain(task, preprocessor, [TEXT])
    assert_adds_up(found)
    assert (found.label, found.probability) == ("value", None)
    task.eval()
    value = task(dict(preprocessor.tokenizer(TEXT, return_tensors="pt"))).item()
    assert found.output == pytest.approx(value, abs=1e-5)
    with pytest.raises(UserError, match="predicts a number"):
        explain(task, preprocessor, [TEXT], target="good")


def test_both_texts_of_a_pair_are_explained(folder):
    task, preprocessor = classification(folder("bert"), columns=2)
    (found,) = explain(task, preprocessor, ["good film", "the plot is bad " * 20])
    assert_adds_up(found)
    assert [word.text for word in found.words if word.place.text == 0] == ["good", "film"]
    read = [word.score is not None for word in found.words if word.place.text == 1]
    assert read == sorted(read, reverse=True)  # the second is cut at its end
    assert 0 < sum(read) < 80


@pytest.mark.parametrize(
    ("truncation", "read"), [("head", [*range(30)]), ("tail", [*range(30, 60)]), ("head_tail", [*range(7), *range(37, 60)])]
)  # fmt: skip
def test_words_that_were_cut_off_have_no_score(folder, truncation: str, read: list[int]):
    task, preprocessor = classification(folder("bert"), truncation=truncation)
    (found,) = explain(task, preprocessor, ["good bad film " * 20])
    assert_adds_up(found)
    assert [i for i, word in enumerate(found.words) if word.score is not None] == read


@pytest.mark.parametrize("family", ["bert", "roberta", "gpt2"])
def test_a_text_of_several_windows_is_explained_whole(folder, family: str):
    task, preprocessor = classification(folder(family), max_length=16, doc_stride=4)
    text = "good bad film " * 12
    (found,) = explain(task, preprocessor, [text])
    assert_adds_up(found)
    assert len(found.words) == 36 and all(word.score is not None for word in found.words)
    batch = preprocessor.collate(encode(preprocessor, {"a": [text]}))
    assert batch["num_windows"][0] > 2
    with torch.no_grad():
        logits = task.eval()(batch)[0]
    label = task.label_names.index(found.label)
    others = torch.cat([logits[:label], logits[label + 1 :]])
    assert found.output == pytest.approx((logits[label] - others.logsumexp(0)).item(), abs=1e-4)


def test_a_text_whose_windows_would_fill_the_memory_is_refused(folder):
    task, preprocessor = classification(folder("bert"), max_length=16, doc_stride=4)
    with pytest.raises(UserError, match="up to 4,096 are explained"):
        explain(task, preprocessor, ["good film " * 4000])


def test_an_entity_is_explained_by_all_words_of_its_window(folder):
    task, preprocessor = entities(folder("bert"))
    text = "good film story plot very superb " * 5
    entities_found = explain(task, preprocessor, [text])
    assert entities_found
    for found in entities_found:
        assert_adds_up(found)
        first = next(word for word in found.words if word.explained)
        assert first.score is not None  # an entity may go on in the next window
        assert sum(word.score is not None for word in found.words) <= 14
    only = explain(task, preprocessor, [text], target="place")
    assert {one.label for one in only} == {"place"}
    with pytest.raises(UserError, match="no such type of entity"):
        explain(task, preprocessor, [text], target="planet")


def test_where_no_entity_is_found_the_likeliest_word_is_explained(folder):
    task, preprocessor = entities(folder("bert"))
    with torch.no_grad():
        task.model.classifier.bias[0] = 30
    assert explain(task, preprocessor, [TEXT]) == []
    (found,) = explain(task, preprocessor, [TEXT.split()], target="person")
    assert found.label == "person"
    assert found.probability < 0.01
    assert sum(word.explained for word in found.words) == 1
    assert found.texts == (TEXT,)


@pytest.mark.parametrize("none", [False, True])
def test_an_answer_is_explained_by_question_and_context(folder, none: bool):
    task, preprocessor = answers(folder("bert"), none=none)
    context = "the plot is good and the film a story of " * 4
    (found,) = explain(task, preprocessor, ["  is the film good", context])
    assert_adds_up(found)
    assert found.texts == ("is the film good", context)
    assert all(word.score is not None for word in found.words if word.place.text == 0)
    marked = [word.text for word in found.words if word.explained]
    assert (found.label == "no answer") == none
    assert marked == ([] if none else found.label.split())
    with pytest.raises(UserError, match="of a question, the answer is explained"):
        explain(task, preprocessor, ["good", context], target="film")


def test_what_did_not_converge_is_said(folder, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gradients, "TOLERANCE", 0.0)
    task, preprocessor = classification(folder("bert"))
    (found,) = explain(task, preprocessor, [TEXT])
    assert (found.steps, found.converged) == (400, False)


def test_memory_does_not_grow_with_the_steps(folder, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gradients, "TOKENS_AT_A_TIME", 64)
    task, preprocessor = classification(folder("bert"))
    (few,) = explain(task, preprocessor, [TEXT])
    sizes: list[int] = []
    task.model.register_forward_pre_hook(
        lambda module, args, kwargs: sizes.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    explain(task, preprocessor, [TEXT])
    assert max(sizes) <= 64
    monkeypatch.setattr(gradients, "TOKENS_AT_A_TIME", 10_000)
    (many,) = explain(task, preprocessor, [TEXT])
    assert [word.score for word in few.words] == pytest.approx([word.score for word in many.words], abs=1e-4)


def test_a_model_that_reads_twice_is_refused(folder, tmp_path: Path):
    task, preprocessor = classification(folder("bert"))
    task.model.config.is_encoder_decoder = True
    with pytest.raises(UserError, match="only encoders are explained"):
        explain(task, preprocessor, [TEXT])
