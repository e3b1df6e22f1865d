"""Tasks that write text: the loss is on the target tokens, the metrics on what the model generates."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric, MetricCollection
from transformers import GenerationConfig, PreTrainedTokenizerBase
from transformers.generation import BaseStreamer

from lightune.common.errors import UserError, nearest
from lightune.models.pretrained import PretrainedModel
from lightune.tasks.analysis.texts import Texts
from lightune.tasks.base import Example, Task
from lightune.tasks.batch import Batch, RowResult
from lightune.tasks.losses import cross_entropy, row_losses
from lightune.tasks.metrics.generation import ROUGE, Distinct, SacreBLEU
from lightune.tuning.recipe import Recipe

METRICS: dict[str, Callable[[bool], Metric]] = {
    "bleu": lambda lowercase: SacreBLEU(score="bleu", lowercase=lowercase),
    "chrf": lambda lowercase: SacreBLEU(score="chrf", lowercase=lowercase),
    "rouge": lambda lowercase: ROUGE(),  # always in lower case
    "distinct1": lambda lowercase: Distinct(n=1),
    "distinct2": lambda lowercase: Distinct(n=2),
}
SAMPLING = ("temperature", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff")
EXAMPLES = 3  # kept of each evaluation, one a batch


class Generation(Task):
    """What writing after a source and going on with a dialogue share.

    Args:
        pretrained: where the weights come from.
        head: ``forced_bos_token_id`` where the data says a target language, else empty.
        metrics: names out of ``bleu``, ``chrf``, ``rouge``, ``distinct1``, ``distinct2``; loss and perplexity come with them.
        monitor: what chooses the best checkpoint: ``[NAME, min or max]``.
        generation: how text is generated, as ``transformers.GenerationConfig`` takes it.
        recipe: which weights move, how fast, and after which teacher.
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
    ) -> None:
        _check_names(metrics, monitor)
        tokenizer = pretrained.load_tokenizer()
        self.normalize_text = _uncased(tokenizer)
        uncased = self.normalize_text is not None
        model = self.load(pretrained, tokenizer)
        super().__init__(
            model=model,
            metrics=MetricCollection({name: METRICS[name](uncased) for name in metrics}, compute_groups=False),
            recipe=recipe,
        )
        self.tokenizer = tokenizer
        # predictions and references of the last held-out batch
        self._judged: tuple[list[str], list[list[str]]] = [], []
        self.monitor = (monitor[0], monitor[1])
        self.pipeline_tag = pipeline_tag or self.pipeline_tag
        unknown = [name for name in generation if not hasattr(model.generation_config, name)]
        if unknown:
            known = [name for name in vars(model.generation_config) if not name.startswith("_")]
            raise UserError(f"task.generation has no option {unknown[0]!r}. {nearest(unknown[0], known)}")
        model.generation_config.update(**generation, **head)
        _drop_idle_options(model.generation_config)

    @staticmethod
    def load(pretrained: PretrainedModel, tokenizer: PreTrainedTokenizerBase) -> Any:
        """Return the model, its ``generation_config`` saying where text starts and ends."""
        raise NotImplementedError

    def prompt(self, batch: Batch) -> dict[str, Tensor]:
        """Return what ``generate`` starts from."""
        raise NotImplementedError

    def targets(self, batch: Batch) -> Tensor:
        """Return the labels (batch, length), -100 where nothing is to be learnt."""
        labels: Tensor = batch["labels"]
        return labels

    def loss(self, logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the mean loss over target tokens and their number.

        Args:
            logits: (batch, length, vocabulary).
            batch: with ``labels`` (batch, length), -100 where there is no target.
        """
        return cross_entropy(logits, batch["labels"])

    def update(self, metrics: MetricCollection, logits: Tensor, batch: Batch) -> None:
        predictions, rows = self.generate(batch), batch["rows"]
        if len(self.examples) < EXAMPLES:
            first = Example(rows[0]["source"], predictions[0], rows[0]["references"][0])
            self.examples = [*self.examples, first]
        references = [row["references"] for row in rows]
        if self.normalize_text is not None:  # the model can write nothing else
            predictions = [self.normalize_text(text) for text in predictions]
            references = [[self.normalize_text(text) for text in texts] for texts in references]
        metrics.update(predictions, references)
        self._judged = predictions, references

    def row_results(self, logits: Tensor, batch: Batch) -> list[RowResult]:
        """Return the ``predicted`` text of each row, as it was judged, and its ``counts`` for each metric.

        ``counts`` are sacrebleu's statistics for BLEU and chrF, which add up to a corpus's, and ROUGE's F-measures.
        """
        results = []
        losses = row_losses(logits, self.targets(batch))
        for loss, prediction, references in zip(losses, *self._judged, strict=True):
            counts = {
                name: metric.row_counts(prediction, references)
                for name, metric in self.test.metrics.items(keep_base=True)
                if isinstance(metric, SacreBLEU | ROUGE)
            }
            results.append(loss | {"predicted": prediction, "counts": counts})
        return results

    def on_validation_epoch_start(self) -> None:
        super().on_validation_epoch_start()
        self.examples = ()

    def on_test_epoch_start(self) -> None:
        super().on_test_epoch_start()
        self.examples = ()

    @torch.no_grad()
    def generate(self, batch: Batch, *, streamer: BaseStreamer | None = None) -> list[str]:
        """Return a text for each row; ``streamer`` is given each token of a single row, without beams, as it is chosen.

        Where tokens are sampled, each batch is drawn from the same seed, so that figures can be repeated, and training
        goes on with its own random numbers.
        """
        prompt = self.prompt(batch)
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(0)
            written = self.model.generate(**prompt, streamer=streamer)
        if not self.model.config.is_encoder_decoder:
            written = written[:, prompt["input_ids"].shape[1] :]
        return self.decode(written)

    def decode(self, written: Tensor) -> list[str]:
        """Return the texts of tokens, (batch, length)."""
        # an uncased vocabulary writes "it ' s ." for "it's."; others know their own spaces
        tidy = True if self.normalize_text is not None else None
        texts = self.tokenizer.batch_decode(written, skip_special_tokens=True, clean_up_tokenization_spaces=tidy)
        return [text.strip() for text in texts]

    def predict_step(self, batch: Batch, batch_idx: int) -> list[dict[str, Any]]:
        """Return ``{"generated_text": …}`` for each row."""
        return [{"generated_text": text} for text in self.generate(batch)]

    def signatures(self) -> dict[str, str]:
        """Return sacrebleu's signatures of the last test, and how text was written where that is not as it is."""
        found = {
            name: metric.signature()
            for name, metric in self.test.metrics.items(keep_base=True)
            if isinstance(metric, SacreBLEU)
        }
        if self.normalize_text is not None:
            found["text"] = "predictions and references in lower case without accents, as this tokenizer reads"
        return found


def _check_names(metrics: list[str], monitor: list[str]) -> None:
    for name in metrics:
        if name not in METRICS:
            raise UserError(f"task.metrics: there is no metric {name!r}. {nearest(name, METRICS)}")
    figures = [*(name for name in metrics if name != "rouge"), *(ROUGE.names if "rouge" in metrics else ())]
    known = [f"val/{name}" for name in ("loss", "perplexity", *figures)]
    if len(monitor) != 2 or monitor[0] not in known or monitor[1] not in ("min", "max"):
        raise UserError(
            f"task.monitor={monitor}: expected a figure and min or max. {nearest(monitor[0], known)}\n"
            "For example: 'task.monitor=[val/loss,min]'"
        )


def _drop_idle_options(config: GenerationConfig) -> None:
    """Forget what the way of generating does not use: transformers refuses to save it."""
    if not config.do_sample:
        config.update(**dict.fromkeys(SAMPLING))
    if (config.num_beams or 1) == 1:
        config.update(early_stopping=None, length_penalty=None)


def _uncased(tokenizer: PreTrainedTokenizerBase) -> Callable[[str], str] | None:
    """Return how an uncased tokenizer reads text, or None where it keeps upper case."""
    backend = getattr(tokenizer, "backend_tokenizer", None)  # Marian's has none
    normalizer = getattr(backend, "normalizer", None)
    if normalizer is None or "A" in normalizer.normalize_str("A"):
        return None
    normalize: Callable[[str], str] = normalizer.normalize_str
    return normalize
