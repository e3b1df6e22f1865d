"""Token classification: which words are a person, a place, … (named-entity recognition)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor
from torchmetrics import MetricCollection
from transformers import AutoModelForTokenClassification

from lightune.common.bio_tags import entity_types, spans
from lightune.common.errors import UserError, nearest
from lightune.data.preprocessors.labels import NO_LABEL
from lightune.tasks.analysis.entities import Entities
from lightune.tasks.batch import Batch, RowResult
from lightune.tasks.classification import Classification
from lightune.tasks.explanation_target import Span, Target
from lightune.tasks.export_usage import Usage, tokenizer_call
from lightune.tasks.metrics.entities import EntityScore

PRINT_TAGS = """\
tokens = tokenizer.convert_ids_to_tokens(inputs["input_ids"][0])
tags = [config.id2label[best] for best in logits[0].argmax(-1).tolist()]
print(list(zip(tokens, tags)))  # the first token of a word gives its tag"""


class TokenClassification(Classification):
    """Fine-tune a pretrained model with a classification head on each token.

    The first token of a word carries its label (Devlin et al., 2019); loss is the mean cross-entropy over words,
    metrics are precision, recall and F1 of whole entities, over all and of each type. Further ones are of the tags of words.

    The arguments are those of ``lightune.tasks.classification.Classification``.
    """

    monitor = ("val/f1", "max")
    bidirectional = True
    pipeline_tag = "token-classification"
    auto_class = AutoModelForTokenClassification
    analysis = Entities

    def own_metrics(self, model: Any) -> tuple[MetricCollection, set[str]]:
        self.label_names = entity_types(self.classes)
        # each is updated with its own
        metrics = MetricCollection({"entities": EntityScore(self.label_names)}, compute_groups=False)
        return metrics, {"entities", "precision", "recall", "f1"}

    def loss(self, logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor | int]:
        batch = batch | {"labels": batch["labels"].masked_fill(batch["labels"] == NO_LABEL, -100)}
        if self.criterion.is_default:
            return super().loss(logits, batch)
        loss: tuple[Tensor, Tensor | int] = self.criterion(*self._of_targets(logits, batch))
        return loss

    def update(self, metrics: MetricCollection, logits: Tensor, batch: Batch) -> None:
        predicted = [tags for tags, _ in self._by_word(logits, batch)]
        of_entities = predicted, [row["tags"] for row in batch["rows"]]
        outputs, labels = self._of_targets(logits, batch)
        for name, metric in metrics.items(keep_base=True, copy_state=False):
            metric.update(*(of_entities if name == "entities" else (outputs.softmax(dim=-1), labels)))

    def row_results(self, logits: Tensor, batch: Batch) -> list[RowResult]:
        """Return ``true`` and ``predicted`` entities of each row, ``[type, first word, word after the last]``.

        ``score`` is the lowest probability among the tags of its words.
        """
        losses = self.row_losses(logits, batch, [len(row["words"]) for row in batch["rows"]])
        found = zip(losses, batch["rows"], self._by_word(logits, batch), strict=True)
        return [
            loss | {"true": spans(row["tags"]), "predicted": spans(tags), "score": min(scores, default=1.0)}
            for loss, row, (tags, scores) in found
        ]

    def predict_step(self, batch: Batch, batch_idx: int) -> list[dict[str, Any]]:
        """Return a dictionary a row: ``entities``, each with ``text``, ``type``, ``start``, ``end``, ``score``.

        ``start`` and ``end`` count characters of the text, which for lists of words is given as ``text``: the words
        joined by spaces. ``score`` is the mean probability of the tags of an entity's words.
        """
        predictions = []
        for row, (tags, scores) in zip(batch["rows"], self._by_word(self(batch).float(), batch), strict=True):
            entities = []
            for kind, first, end_word in spans(tags):
                start, end = row["offsets"][first][0], row["offsets"][end_word - 1][1]
                text, score = row["text"][start:end], sum(scores[first:end_word]) / (end_word - first)
                entities.append({"text": text, "type": kind, "start": start, "end": end, "score": score})
            predictions.append(({"text": row["text"]} if row["joined"] else {}) | {"entities": entities})
        return predictions

    def explained(self, logits: Tensor, batch: Batch, *, label: str | None) -> list[Target]:
        """Return the predicted entities; where none has the label, the word that is likeliest to."""
        if label is not None and label not in self.label_names:
            raise UserError(f"--target {label}: no such type of entity. {nearest(label, self.label_names)}")
        row, best = batch["rows"][0], logits.argmax(dim=-1)
        first_tokens = np.argwhere(row["words"] >= 0)  # (words, 2) of window and token, in the order of words
        targets = []
        for entity in self.predict_step(batch, 0)[0]["entities"]:
            if label not in (None, entity["type"]):
                continue
            places = [
                (int(window), int(token))
                for window, token in first_tokens
                if entity["start"] <= row["offsets"][row["words"][window, token]][0] < entity["end"]
            ]
            window = places[0][0]
            cells = [(token, int(best[w, token])) for w, token in places if w == window]
            span = (0, entity["start"], entity["end"])
            targets.append(Target(entity["type"], entity["score"], cells, window, span))
        if targets or label is None or not len(first_tokens):
            return targets
        tags = [index for index, tag in enumerate(self.classes) if entity_types([tag]) == [label]]
        probabilities = logits.softmax(dim=-1)[first_tokens[:, 0], first_tokens[:, 1]][:, tags]
        number, tag = divmod(int(probabilities.argmax()), len(tags))
        window, token = first_tokens[number].tolist()
        span = (0, *row["offsets"][row["words"][window, token]])
        return [Target(label, float(probabilities[number, tag]), [(token, tags[tag])], window, span)]

    def explained_texts(self, texts: Sequence[Any], batch: Batch) -> list[tuple[str, list[Span] | None]]:
        row = batch["rows"][0]
        return [(row["text"], row["offsets"])]

    def usage(self, preprocessor: Any, *, tensors: str) -> Usage:
        return Usage(tokenizer_call(preprocessor, '["A text."]', tensors=tensors), PRINT_TAGS)

    def _of_targets(self, logits: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the logits (targets, num_labels) of the tokens that have a label, and the labels (targets,)."""
        return self.at_targets(logits, batch).float(), batch["labels"][batch["labels"] != -100]

    def _by_word(self, logits: Tensor, batch: Batch) -> list[tuple[list[str], list[float]]]:
        """Return for each row the tag of every word and its probability.

        A word that the tokenizer left nothing of (such as a control character) is O.

        Args:
            logits: (windows, length, num_labels), the windows of all rows.
            batch: with ``rows``, whose ``words`` (windows of the row, length) say which word a token speaks for.
        """
        best = logits.softmax(dim=-1).max(dim=-1)
        probabilities, labels = best.values.cpu().numpy(), best.indices.cpu().numpy()
        found, window = [], 0
        for row in batch["rows"]:
            windows = slice(window, window + len(row["words"]))
            window = windows.stop
            speaks = row["words"] >= 0
            tags, scores = ["O"] * len(row["offsets"]), [1.0] * len(row["offsets"])
            for word, label, probability in zip(
                row["words"][speaks], labels[windows][speaks], probabilities[windows][speaks], strict=True
            ):
                tags[word], scores[word] = self.classes[label], float(probability)
            found.append((tags, scores))
        return found
