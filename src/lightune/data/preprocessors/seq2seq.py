"""Translation and summarisation: a source text and the target text wanted of it become token ids."""

from collections.abc import Sequence
from typing import Any

from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from lightune.common.errors import UserError, nearest
from lightune.data.batches.padding import pad, pad_inputs
from lightune.data.preprocessors.columns import check_columns, check_texts
from lightune.data.preprocessors.lengths import check_length, were_cut


class Seq2SeqPreprocessor:
    """Tokenize sources and targets.

    Held-out rows with the same source are one example with several references.

    Args:
        tokenizer: of the pretrained model.
        source_column: what is read; ``translation.en`` is ``en`` inside a column of dictionaries.
        target_column: what is to be written.
        max_length: tokens a source is cut to.
        max_target_length: tokens a target is cut to.
        source_prefix: put before each source, for models that were pretrained so (T5).
        source_lang: code of the source's language, for models of many languages: ``en`` finds ``en_XX``.
        target_lang: likewise of the target's.
    """

    def __init__(
        self,
        *,
        tokenizer: PreTrainedTokenizerBase,
        source_column: str,
        target_column: str,
        max_length: int,
        max_target_length: int,
        source_prefix: str | None,
        source_lang: str | None,
        target_lang: str | None,
    ) -> None:
        check_length(tokenizer, max_length)
        check_length(tokenizer, max_target_length, option="max_target_length")
        if source_column == target_column:
            raise UserError(
                f"data.source_column and data.target_column are both {source_column!r}.\n"
                "To turn the direction round: data.source_lang=de data.target_lang=en"
            )
        self.tokenizer = tokenizer
        self.input_columns = [source_column]
        self.target_column = target_column
        self.max_length = max_length
        self.max_target_length = max_target_length
        self.source_prefix = source_prefix or ""
        self.head: dict[str, Any] = {}
        if hasattr(tokenizer, "tgt_lang"):
            tokenizer.src_lang = _language_code(tokenizer, source_lang, option="source_lang")
            tokenizer.tgt_lang = _language_code(tokenizer, target_lang, option="target_lang")
            self.head = {"forced_bos_token_id": tokenizer.convert_tokens_to_ids(tokenizer.tgt_lang)}

    def fit(self, train: Dataset) -> None:
        """Do nothing: the targets are text."""

    def prepare(self, rows: Dataset, *, split: str, labelled: bool = True) -> Dataset:
        """Keep ``source`` and ``target``, checked; held-out rows of one source become one row with ``references``.

        Raises:
            UserError: a column or a text is missing.
        """
        columns = {"source_column": self.input_columns[0]}
        if labelled:
            columns["target_column"] = self.target_column
        if any("." in column for column in columns.values()):
            rows = rows.flatten()
        check_columns(rows, columns, split=split)
        check_texts(rows, list(columns.values()), split=split)
        names = {
            self.input_columns[0]: "source",
            **({self.target_column: "target"} if labelled else {}),
        }
        rows = rows.select_columns(list(names)).rename_columns(
            {column: name for column, name in names.items() if column != name}
        )
        if split == "train" or not labelled:
            return rows
        merged: dict[str, list[str]] = {}
        for row in rows:
            merged.setdefault(row["source"], []).append(row["target"])
        return Dataset.from_dict({"source": list(merged), "references": list(merged.values())})

    def strata(self, prepared: Dataset) -> Sequence[int] | None:
        """Return None: texts have no classes."""
        return None

    def __call__(self, examples: dict[str, list[Any]], *, training: bool) -> dict[str, Any]:
        """Tokenize sources, and of the references the first as ``labels``."""
        texts = [self.source_prefix + source for source in examples["source"]]
        sources = self.tokenizer(texts, truncation=True, max_length=self.max_length)
        features = {
            "input_ids": sources["input_ids"],
            "attention_mask": sources["attention_mask"],
            "length": [len(ids) for ids in sources["input_ids"]],
            "cut": were_cut(sources, max_length=self.max_length),
        }
        if "target" in examples:  # rows of train, which validation and test may be carved from
            examples = {**examples, "references": [[target] for target in examples["target"]]}
        if "references" in examples:
            features["labels"] = self._targets([references[0] for references in examples["references"]])
            features["length"] = [
                source + len(target)
                for source, target in zip(features["length"], features["labels"], strict=True)
            ]
        if not training:
            features |= {name: examples[name] for name in ("source", "references") if name in examples}
        return features

    def collate(self, features: list[dict[str, Any]], *, few_widths: bool = False) -> dict[str, Any]:
        """Pad sources to one width, and targets to another.

        Returns:
            ``input_ids`` and ``attention_mask`` (batch, source length), ``labels`` (batch, target length) with -100
            after each end, and ``rows`` with ``source`` and ``references`` where held out.
        """
        names = ("input_ids", "attention_mask")
        sources = [{name: row[name] for name in names} for row in features]
        batch = pad_inputs(self.tokenizer, sources, most=self.max_length, few=few_widths, side="right")
        if "labels" in features[0]:
            labels = [row["labels"] for row in features]
            batch["labels"] = pad(labels, value=-100, most=self.max_target_length, few=few_widths)
        if "source" in features[0]:
            batch["rows"] = [
                {"source": row["source"], "references": row.get("references", [])} for row in features
            ]
        return batch

    def _targets(self, texts: list[str]) -> list[list[int]]:
        targets = self.tokenizer(text_target=texts, truncation=True, max_length=self.max_target_length)
        if self.tokenizer.eos_token is not None:
            return list(targets["input_ids"])
        return [ids[1:] for ids in targets["input_ids"]]  # BERT's [CLS] is what the decoder starts from


def _language_code(tokenizer: PreTrainedTokenizerBase, language: str | None, *, option: str) -> str:
    """Find the code by which a model of many languages calls one: ``en`` is ``en_XX`` in mBART."""
    codes = [str(token) for token in tokenizer.all_special_tokens if "_" in str(token)]
    found = [code for code in codes if language in (code, code.split("_")[0])]
    if len(found) != 1:
        raise UserError(
            f"data.{option}={language}: this model needs to know the language. {nearest(language, codes)}"
        )
    return found[0]
