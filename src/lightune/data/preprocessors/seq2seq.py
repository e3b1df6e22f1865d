"""Translation and summarization: a source text and its target text become token ids."""

from dataclasses import dataclass
from typing import Any

from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from lightune.common.errors import UserError, nearest
from lightune.data.batches.padding import pad, pad_inputs
from lightune.data.preprocessors.base import Preprocessor
from lightune.data.preprocessors.columns import check_columns, check_texts, join_lists
from lightune.data.preprocessors.lengths import check_length, find_truncated


@dataclass(kw_only=True, eq=False)
class Seq2SeqPreprocessor(Preprocessor):
    """Tokenize sources and targets.

    Held-out rows with the same source are one example with several references.

    Args:
        tokenizer: of the pretrained model.
        source_column: what is read, a text or a list of sentences; ``translation.en`` is ``en`` inside a column of
            dictionaries.
        target_column: what is to be written.
        max_length: tokens a source is cut to.
        max_target_length: tokens a target is cut to.
        source_prefix: put before each source, for models that were pretrained so (T5).
        source_lang: code of the source's language, for models of many languages: ``en`` finds ``en_XX``.
        target_lang: likewise of the target's.
    """

    tokenizer: PreTrainedTokenizerBase
    source_column: str
    target_column: str
    max_length: int
    max_target_length: int
    source_prefix: str | None = None
    source_lang: str | None = "en"
    target_lang: str | None

    def __post_init__(self) -> None:
        check_length(self.tokenizer, self.max_length)
        check_length(self.tokenizer, self.max_target_length, option="max_target_length")
        if self.source_column == self.target_column:
            raise UserError(
                f"data.source_column and data.target_column are both {self.source_column!r}.\n"
                "To reverse the direction: data.source_lang=de data.target_lang=en"
            )
        self.input_columns = [self.source_column]
        self.prepared_inputs = ("source",)
        self.source_prefix = self.source_prefix or ""
        if hasattr(self.tokenizer, "tgt_lang"):
            self.tokenizer.src_lang = self._language_code(self.source_lang, option="source_lang")
            self.tokenizer.tgt_lang = self._language_code(self.target_lang, option="target_lang")

    @property
    def head(self) -> dict[str, Any]:
        """The first token that a decoder of many languages must write: the target's language."""
        if not hasattr(self.tokenizer, "tgt_lang"):
            return {}
        return {"forced_bos_token_id": self.tokenizer.convert_tokens_to_ids(self.tokenizer.tgt_lang)}

    def prepare(self, rows: Dataset, *, split: str, labelled: bool = True) -> Dataset:
        """Return ``source`` and ``target``, checked; held-out rows of one source become one row with ``references``."""
        names = {self.source_column: "source"} | ({self.target_column: "target"} if labelled else {})
        if any("." in column for column in names):
            rows = rows.flatten()
        check_columns(rows, {f"{name}_column": column for column, name in names.items()}, split=split)
        rows = join_lists(rows, self.source_column, split=split)
        check_texts(rows, list(names), split=split)
        renamed = {column: name for column, name in names.items() if column != name}
        rows = rows.select_columns(list(names)).rename_columns(renamed)
        if split == "train" or not labelled:
            return rows
        merged: dict[str, list[str]] = {}
        for row in rows:
            merged.setdefault(row["source"], []).append(row["target"])
        return Dataset.from_dict({"source": list(merged), "references": list(merged.values())})

    def __call__(self, examples: dict[str, list[Any]], *, training: bool) -> dict[str, Any]:
        """Tokenize sources, and the first of their references as ``labels``."""
        texts = [f"{self.source_prefix}{source}" for source in examples["source"]]
        sources = self.tokenizer(texts, truncation=True, max_length=self.max_length)
        features = {
            "input_ids": sources["input_ids"],
            "attention_mask": sources["attention_mask"],
            "length": [len(ids) for ids in sources["input_ids"]],
            "truncated": find_truncated(sources, max_length=self.max_length),
        }
        # rows of train have one target, also where validation and test are carved from them
        if "target" in examples:
            examples = {**examples, "references": [[target] for target in examples["target"]]}
        if "references" in examples:
            features["labels"] = self._targets([references[0] for references in examples["references"]])
            lengths = zip(features["length"], features["labels"], strict=True)
            features["length"] = [source + len(target) for source, target in lengths]
        if not training:
            features |= {name: examples[name] for name in ("source", "references") if name in examples}
        return features

    def collate(self, features: list[dict[str, Any]], *, few_widths: bool = False) -> dict[str, Any]:
        """Pad sources to one width, and targets to another.

        Returns:
            ``input_ids`` and ``attention_mask`` (batch, source length), ``labels`` (batch, target length) with -100
            after each end, and for held-out rows ``rows`` with ``source`` and ``references``.
        """
        batch = pad_inputs(self.tokenizer, features, max_width=self.max_length, few_widths=few_widths)
        if "labels" in features[0]:
            labels = [row["labels"] for row in features]
            batch["labels"] = pad(labels, value=-100, max_width=self.max_target_length, few_widths=few_widths)
        if "source" in features[0]:
            batch["rows"] = [{"source": row["source"], "references": row.get("references", [])} for row in features]
        return batch

    def _targets(self, texts: list[str]) -> list[list[int]]:
        targets = self.tokenizer(text_target=texts, truncation=True, max_length=self.max_target_length)
        # without an end token the decoder starts from BERT's [CLS], which is not a target
        first = int(self.tokenizer.eos_token is None)
        return [ids[first:] for ids in targets["input_ids"]]

    def _language_code(self, language: str | None, *, option: str) -> str:
        """Return the code of a language in a model of many languages: ``en`` is ``en_XX`` in mBART."""
        codes = [str(token) for token in self.tokenizer.all_special_tokens if "_" in str(token)]
        matches = [code for code in codes if language in (code, code.split("_")[0])]
        if len(matches) != 1:
            raise UserError(
                f"data.{option}={language}: this model needs to know the language. {nearest(language, codes)}"
            )
        return matches[0]
