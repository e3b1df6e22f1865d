"""Instructions: a prompt made of a row's columns, and its answer, for a causal language model."""

import re
from dataclasses import dataclass
from typing import Any

from datasets import Dataset

from lightune.common.errors import UserError
from lightune.data.preprocessors.columns import check_columns, check_filled, check_text_columns, join_lists
from lightune.data.preprocessors.dialogue import DialoguePreprocessor
from lightune.data.preprocessors.lengths import check_length, check_offsets, truncate_texts
from lightune.data.preprocessors.turns import Turn

REQUIRED = ("source", "target")
PLACEHOLDER = re.compile(r"\{([\w.-]+)\}")


@dataclass(kw_only=True, eq=False)
class InstructionPreprocessor(DialoguePreprocessor):
    """Tokenize a prompt and its answer as a dialogue of two turns; the loss falls on the answer.

    Translation and summarization are instructions with one column to read. Held-out rows with the same texts are one
    example with several references.

    Args:
        tokenizer: of the pretrained model.
        prompt: the user's turn; ``{source}`` stands for ``source_column``, ``{NAME}`` for any other column.
        system: the system's turn before it, likewise; None: the one that the chat template has, if any.
        source_column: a text or a list of sentences; ``translation.en`` is ``en`` inside a column of dictionaries.
        target_column: the answer.
        max_length: tokens that each text of the prompt is cut to.
        max_target_length: tokens that the answer is cut to.
        dialogue_column: whole dialogues, in place of a prompt and its answer, see ``DialoguePreprocessor``.
        reply_roles: their roles that answer.

    Raises:
        UserError: the prompt has no place for a column.
    """

    dialogue_column: str | None = None  # type: ignore[assignment]
    prompt: str = "{instruction}\n\n{input}"
    system: str | None = None
    source_column: str = "source"
    target_column: str = "output"
    max_length: int = 512
    max_target_length: int = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dialogue_column is not None:
            return
        check_offsets(self.tokenizer)
        check_length(self.tokenizer, self.max_target_length, option="max_target_length")
        names = dict.fromkeys(PLACEHOLDER.findall(f"{self.system or ''}{self.prompt}"))
        if not names:
            raise UserError(f"data.prompt={self.prompt!r}: it reads no column. Write {{source}} or {{NAME}} into it.")
        self.columns = {name: self.source_column if name == "source" else name for name in names}
        self.input_columns = [*self.columns.values()]
        self.prepared_inputs = ("turns",)
        self.max_width = self.tokenizer.model_max_length

    def prepare(self, rows: Dataset, *, split: str, labelled: bool = True) -> Dataset:
        """Return a row for each prompt, as ``DialoguePreprocessor`` does; held-out ones have all of their answers."""
        if self.dialogue_column is not None:
            return super().prepare(rows, split=split, labelled=labelled)
        columns = self.columns | ({"target": self.target_column} if labelled else {})
        if any("." in column for column in columns.values()):
            rows = rows.flatten()
        for name, column in columns.items():
            check_columns(rows, {f"{name}_column" if name in REQUIRED else "prompt": column}, split=split)
            rows = join_lists(rows, column, split=split)
        check_text_columns(rows, [*columns.values()], split=split)
        check_filled(rows, [column for name, column in columns.items() if name in REQUIRED], split=split)
        whole = {name: [text or "" for text in rows[column][:]] for name, column in self.columns.items()}
        tokenizer = self.tokenizer
        texts = {name: truncate_texts(tokenizer, values, tokens=self.max_length) for name, values in whole.items()}
        answers = rows[self.target_column][:] if labelled else []
        answers = truncate_texts(tokenizer, answers, tokens=self.max_target_length)
        places: dict[Any, int] = {}
        prepared: dict[str, list[Any]] = {"turns": [], "reply": [], "source": [], "references": [], "truncated": []}
        for index, values in enumerate(zip(*texts.values(), strict=True)):
            place = places.setdefault(values if labelled and split != "train" else index, len(prepared["turns"]))
            if place == len(prepared["turns"]):
                row = dict(zip(texts, values, strict=True))
                said = {"system": self.system, "user": self.prompt}
                turns = [_turn(role, _filled(text, row)) for role, text in said.items() if text is not None]
                prepared["turns"].append(turns)
                prepared["reply"].append([_turn("assistant", answer) for answer in answers[index : index + 1]])
                prepared["source"].append(row.get("source", turns[-1]["content"]))
                prepared["references"].append([])
                prepared["truncated"].append(values != tuple(column[index] for column in whole.values()))
            prepared["references"][place] += answers[index : index + 1]
        return Dataset.from_dict(prepared)


def _filled(text: str, columns: dict[str, str]) -> str:
    return PLACEHOLDER.sub(lambda name: columns[name[1]], text).strip()


def _turn(role: str, content: str) -> dict[str, Any]:
    return vars(Turn(role=role, content=content, reply=role == "assistant"))
