"""Tasks that write text: the loss is on the target tokens, the metrics on what the model generates."""

import logging
import re
import time
from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from transformers import PreTrainedTokenizerBase
from transformers.generation import BaseStreamer

from lightune.common.errors import UserError, nearest
from lightune.common.scripts import is_spaceless
from lightune.models.model_parts import max_positions
from lightune.models.pretrained import PretrainedModel
from lightune.tasks.analysis.texts import Texts
from lightune.tasks.base import Task
from lightune.tasks.batch import Batch, RowResult
from lightune.tasks.generated_sample import GeneratedSample
from lightune.tasks.held_out_metrics import HeldOut
from lightune.tasks.metrics.generation import ROUGE, Degeneration, Distinct, SacreBLEU
from lightune.tasks.metrics.sacrebleu_counts import TOKENIZERS, language_code
from lightune.tuning.recipe import Recipe

log = logging.getLogger(__name__)

METRICS: dict[str, Callable[[bool, str | None], Metric]] = {
    "bleu": lambda lowercase, language: SacreBLEU(score="bleu", lowercase=lowercase, language=language),
    "chrf": lambda lowercase, language: SacreBLEU(score="chrf", lowercase=lowercase),
    "rouge": lambda lowercase, language: ROUGE(language=language),  # always in lower case
    "distinct1": lambda lowercase, language: Distinct(n=1),
    "distinct2": lambda lowercase, language: Distinct(n=2),
}
SAMPLING = ("temperature", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff")
EXAMPLES = 3  # kept of each evaluation, one a batch


class Generation(Task):
    """The base of tasks that generate texts; ``head`` holds ``forced_bos_token_id`` where there is a target language.

    Args:
        metrics: names out of ``bleu``, ``chrf``, ``rouge``, ``distinct1``, ``distinct2``; loss, perplexity and
            ``Degeneration`` are added.
        monitor: the figure that chooses the best checkpoint: ``[NAME, min or max]``.
        generation: how text is generated, as ``transformers.GenerationConfig`` takes it, and ``max_samples``: the rows
            that a validation during training generates for; None or missing: all. Its loss is over all.
        pipeline_tag: the Hub's name of the task; None: the class's.
        target_lang: of the texts that are written: BLEU and ROUGE find words by it.
    """

    language_model = True
    streams = True
    analysis = Texts

    def __init__(
        self,
        *,
        pretrained: PretrainedModel,
        head: dict[str, Any],
        metrics: list[str],
        monitor: list[str],
        generation: dict[str, Any],
        recipe: Recipe,
        pipeline_tag: str | None = None,
        target_lang: str | None = None,
    ) -> None:
        _check_names(metrics, monitor)
        tokenizer = pretrained.load_tokenizer()
        normalize = _lowercase_normalizer(tokenizer)
        by_name = {name: METRICS[name](normalize is not None, target_lang) for name in metrics}
        by_name["degeneration"] = Degeneration()
        super().__init__(
            model=self.load(pretrained, tokenizer),
            metrics=MetricCollection({**by_name}, compute_groups=False),
            recipe=recipe,
        )
        self.tokenizer, self.normalize_text = tokenizer, normalize
        self.monitor = (monitor[0], monitor[1])
        self.pipeline_tag = pipeline_tag or self.pipeline_tag
        self._language_is_known = language_code(target_lang) in TOKENIZERS
        # of the last evaluation: source, prediction and reference
        self.examples: list[tuple[str, str, str]] = []
        self._special = re.compile("|".join(map(re.escape, tokenizer.all_special_tokens)))
        self.written: dict[int, str] = {}  # of the last evaluation on this device, by row number
        self._texts: tuple[list[str], list[list[str]]] = ([], [])  # predictions and references of the last batch
        self.sample = GeneratedSample(generation.get("max_samples"))
        generation = {name: value for name, value in generation.items() if name != "max_samples"}
        config = self.model.generation_config
        if unknown := [name for name in generation if not hasattr(config, name)]:
            known = ["max_samples", *(name for name in vars(config) if not name.startswith("_"))]
            raise UserError(f"task.generation has no option {unknown[0]!r}. {nearest(unknown[0], known)}")
        config.update(**generation, **head)
        positions, written = max_positions(self.model), config.max_new_tokens or 0
        if positions is not None and written > positions:
            use = "its text" if self.model.config.is_encoder_decoder else "prompt and reply together"
            raise UserError(
                f"task.generation.max_new_tokens={written}: this model has positions for {positions} tokens, {use}.\n"
                f"Set for example task.generation.max_new_tokens={positions // 2}"
            )
        # transformers refuses to save options that have no effect
        if not config.do_sample:
            config.update(**dict.fromkeys(SAMPLING))
        if (config.num_beams or 1) == 1:
            config.update(early_stopping=None, length_penalty=None)

    @staticmethod
    def load(pretrained: PretrainedModel, tokenizer: PreTrainedTokenizerBase) -> Any:
        """Return the model; its ``generation_config`` says with which tokens a text starts and ends."""
        raise NotImplementedError

    def prompt(self, batch: Batch) -> dict[str, Tensor]:
        """Return the inputs of ``generate``."""
        raise NotImplementedError

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.sample.choose(batch, batch_idx, self.trainer)
        super().validation_step(batch, batch_idx)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self.sample.choose(batch, batch_idx, self.trainer)
        super().test_step(batch, batch_idx)

    def num_words(self, batch: Batch) -> int:
        texts = self.tokenizer.batch_decode([row[row != -100] for row in batch["labels"]])
        # the end of a reply may stand between two words
        return sum(len(self._special.sub(" ", text).split()) for text in texts)

    def update(self, metrics: MetricCollection, logits: Tensor, batch: Batch) -> None:
        self.sample.counts[0] += len(batch["rows"])
        if self.sample.num_rows == 0:
            return
        batch = {name: values[: self.sample.num_rows] for name, values in batch.items()}
        predictions, rows = self.generate(batch), batch["rows"]
        if len(self.examples) < EXAMPLES:
            self.examples.append((rows[0]["source"], predictions[0], rows[0]["references"][0]))
        references = [row["references"] for row in rows]
        if not self._language_is_known and is_spaceless("".join(references[0])):
            self._language_is_known = True  # it is told once
            rank_zero_only(log.warning)(
                "The texts to write have no spaces between words, so BLEU and ROUGE would take a sentence for a word. "
                "Name their language: data.target_lang=zh, or task.target_lang=zh for task=dialogue"
            )
        if self.normalize_text is not None:  # the model can write nothing else
            predictions = [self.normalize_text(text) for text in predictions]
            references = [[self.normalize_text(text) for text in texts] for texts in references]
        metrics.update(predictions, references)
        self.written |= dict(zip(batch.get("row_numbers", ()), predictions, strict=False))
        self._texts = predictions, references

    def row_results(self, logits: Tensor, batch: Batch) -> list[RowResult]:
        """Return the ``predicted`` text of each row, normalized as for the metrics, and its ``counts`` for each metric.

        ``counts`` are sacrebleu's for BLEU and chrF, which add up to a corpus's, and ROUGE's F-measures.
        """
        if self.sample.num_rows is not None:
            return []
        metrics = self.test.metrics.items(keep_base=True)
        counters = {name: metric for name, metric in metrics if isinstance(metric, SacreBLEU | ROUGE)}
        results = []
        for loss, prediction, references in zip(self.row_losses(logits, batch), *self._texts, strict=True):
            counts = {name: metric.row_counts(prediction, references) for name, metric in counters.items()}
            results.append(loss | {"predicted": prediction, "counts": counts})
        return results

    def _begin(self, held_out: HeldOut) -> None:
        super()._begin(held_out)
        self.examples, self.written, self.sample.counts = [], {}, torch.zeros(4)

    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        if not self.trainer.sanity_checking:
            self.sample.tell(self.trainer)

    def on_test_epoch_end(self) -> None:
        super().on_test_epoch_end()
        self.log("test/generation/tokens_per_second", self.sample.tell(self.trainer))

    @torch.no_grad()
    def generate(self, batch: Batch, *, streamer: BaseStreamer | None = None) -> list[str]:
        """Return a text for each row; ``streamer`` receives each token of a single row as it is chosen, without beams.

        Sampling starts from the same seed for each batch, so that figures can be repeated, and leaves the random numbers
        of training as they are.
        """
        prompt = self.prompt(batch)
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(0)
            start = time.perf_counter()
            tokens = self.model.generate(**prompt, streamer=streamer)
        if not self.model.config.is_encoder_decoder:
            tokens = tokens[:, prompt["input_ids"].shape[1] :]
        special = torch.tensor(self.tokenizer.all_special_ids, device=tokens.device)
        written = int(torch.isin(tokens, special, invert=True).sum())
        self.sample.counts += torch.tensor([0, len(tokens), written, time.perf_counter() - start])
        return self.decode(tokens)

    def decode(self, tokens: Tensor) -> list[str]:
        """Return the texts of tokens, (batch, length)."""
        # an uncased vocabulary writes "it ' s ." for "it's."; others know their own spaces
        options = {"clean_up_tokenization_spaces": True if self.normalize_text is not None else None}
        texts = self.tokenizer.batch_decode(tokens, skip_special_tokens=True, **options)
        return [text.strip() for text in texts]

    def predict_step(self, batch: Batch, batch_idx: int) -> list[dict[str, Any]]:
        """Return ``{"generated_text": …}`` for each row."""
        return [{"generated_text": text} for text in self.generate(batch)]

    def signatures(self) -> dict[str, str]:
        """Return sacrebleu's signatures of the last test, and how texts were normalized or ROUGE's words found."""
        metrics = list(self.test.metrics.items(keep_base=True))
        signatures = {name: metric.signature() for name, metric in metrics if isinstance(metric, SacreBLEU)}
        if any(isinstance(metric, ROUGE) and metric.tokenizer is not None for _, metric in metrics):
            signatures["rouge"] = "words of any letters, single characters where a script has no spaces, not stemmed"
        if self.normalize_text is not None:
            signatures["text"] = "predictions and references in lower case without accents, as this tokenizer reads"
        return signatures


def _check_names(metrics: list[str], monitor: list[str]) -> None:
    for name in metrics:
        if name not in METRICS:
            raise UserError(f"task.metrics: there is no metric {name!r}. {nearest(name, METRICS)}")
    figures = [*(name for name in metrics if name != "rouge"), *(ROUGE.names if "rouge" in metrics else ())]
    known = [f"val/{name}" for name in ("loss", "perplexity", "word_perplexity", *figures, *Degeneration.names)]
    if len(monitor) != 2 or monitor[0] not in known or monitor[1] not in ("min", "max"):
        raise UserError(
            f"task.monitor={monitor}: expected a figure and min or max. {nearest(monitor[0], known)}\n"
            "For example: 'task.monitor=[val/loss,min]'"
        )


def _lowercase_normalizer(tokenizer: PreTrainedTokenizerBase) -> Callable[[str], str] | None:
    """Return how an uncased tokenizer normalizes text, or None where it keeps upper case."""
    backend = getattr(tokenizer, "backend_tokenizer", None)  # Marian's has none
    normalizer = getattr(backend, "normalizer", None)
    if normalizer is None or "A" in normalizer.normalize_str("A"):
        return None
    normalize: Callable[[str], str] = normalizer.normalize_str
    return normalize
