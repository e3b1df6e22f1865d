"""Dialogue: turns become one sequence for a causal language model, with the replies as its targets."""

from dataclasses import dataclass
from typing import Any

from datasets import Dataset
from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from lightune.common.errors import UserError, listed
from lightune.common.special_tokens import end_token_id
from lightune.data.batches.padding import pad_inputs
from lightune.data.preprocessors.base import Preprocessor
from lightune.data.preprocessors.columns import check_columns, warn_of_rows
from lightune.data.preprocessors.lengths import check_length
from lightune.data.preprocessors.turns import Turn, read_turns

# a piece of a long dialogue repeats the end of the one before it, a quarter of its tokens, without learning it
CONTEXT_DIVISOR = 4
HELD_OUT_FIELDS = ("prompt_ids", "source", "references")


@dataclass(kw_only=True, eq=False)
class DialoguePreprocessor(Preprocessor):
    """Tokenize dialogues; the loss falls on replies only, and each reply sees all turns before it.

    All replies of a dialogue are learned in one pass. Their gradient is that of a row for each reply, for a fraction
    of the computation. Where the tokenizer has a chat template it is used; otherwise each turn ends with the
    end-of-text token. Source: Zhang et al. (2020), DialoGPT, for turns joined by that token.

    For held-out rows the last reply of each dialogue is also generated, from the turns before it.

    Args:
        tokenizer: of the pretrained model.
        dialogue_column: see ``lightune.data.preprocessors.turns.read_turns``.
        max_length: tokens; longer dialogues are trained on in pieces and measured on their end.
        reply_roles: the roles that answer; None: the assistant's usual names.
    """

    tokenizer: PreTrainedTokenizerBase
    dialogue_column: str = "messages"
    max_length: int = 256
    reply_roles: list[str] | None = None

    def __post_init__(self) -> None:
        check_length(self.tokenizer, self.max_length, least=8)
        self.input_columns = [self.dialogue_column]
        self.prepared_inputs = ("turns", "reply")
        # tokens of the longest sequence
        self.max_width = self.max_length

    def prepare(self, rows: Dataset, *, split: str, labelled: bool = True) -> Dataset:
        """Return the last ``reply`` (a list of one turn, empty if it is to be predicted), and the ``turns`` before it.

        ``source`` is the last of these, and ``references`` holds the reply, to compare a generated one with.
        """
        column = self.dialogue_column
        check_columns(rows, {"dialogue_column": column}, split=split)
        prepared: dict[str, list[Any]] = {"turns": [], "reply": [], "source": [], "references": []}
        empty = []
        for index, dialogue in enumerate(rows[column][:]):
            try:
                turns = read_turns(dialogue, complete=labelled, reply_roles=self.reply_roles)
                last = _last_reply(turns) if labelled else len(turns)
            except ValueError as error:
                raise UserError(f"The {split} split, row {index + 1}, column {column!r}: {error}.") from error
            prepared["turns"].append([vars(turn) for turn in turns[:last]])
            prepared["reply"].append([vars(turn) for turn in turns[last : last + 1]])
            prepared["source"].append(turns[last - 1].content)
            prepared["references"].append([turn.content for turn in turns[last : last + 1]])
            if any(turn.reply and not turn.content.strip() for turn in turns[: last + 1]):
                empty.append(index + 1)
        warn_of_rows(empty, len(rows), "rows have an empty reply, which teaches to say nothing", split=split)
        return Dataset.from_dict(prepared)

    def __call__(self, examples: dict[str, list[Any]], *, training: bool) -> dict[str, Any]:
        """Tokenize dialogues; in training a long one becomes several rows.

        ``left_out`` counts the replies that are not learned, of the row's dialogue or of some before it that have no row.
        """
        rows: list[dict[str, Any]] = []
        left_out = 0
        cuts = examples.get("truncated") or [False] * len(examples["turns"])
        columns = ("turns", "reply", "source", "references")
        for cut, context, last, *shown in zip(cuts, *(examples[name] for name in columns), strict=True):
            turns, reply = [Turn(**turn) for turn in context], [Turn(**turn) for turn in last]
            input_ids, labels, missing = self.encode(turns + reply)
            left_out += missing
            found = self._pieces(input_ids, labels) if training else [self._held_out(input_ids, labels, turns, *shown)]
            for row in found:
                rows.append(row | {"left_out": left_out, "truncated": cut})
                left_out = 0
        if rows:
            rows[-1]["left_out"] += left_out
        names = ("input_ids", "labels", "length", "left_out", "truncated", *(() if training else HELD_OUT_FIELDS))
        return {name: [row[name] for row in rows] for name in names}

    def encode(self, turns: list[Turn]) -> tuple[list[int], list[int], int]:
        """Return token ids, the same as labels (-100 outside the replies), and how many replies are not learned."""
        if self.tokenizer.chat_template is not None:
            return self._encode_with_template(turns)
        input_ids = self._start()
        labels = [-100] * len(input_ids)
        for turn in turns:
            ids = self._encode_turn(turn)
            input_ids += ids
            labels += ids if turn.reply else [-100] * len(ids)
        return input_ids, labels, 0

    def prompt_ids(self, turns: list[Turn]) -> list[int]:
        """Return the token ids that the assistant's reply follows; of too many the first are cut off."""
        if self.tokenizer.chat_template is not None:
            ids = self._tokens(self._apply_template(turns, add_generation_prompt=True))
        else:
            ids = self._start() + [token for turn in turns for token in self._encode_turn(turn)]
        return ids[-self.max_width :]

    def collate(self, features: list[dict[str, Any]], *, few_widths: bool = False) -> dict[str, Any]:
        """Pad to one width; ``labels`` are -100 outside the replies, and held-out ``rows`` have a prompt's fields."""
        batch = pad_inputs(self.tokenizer, features, max_width=self.max_width, few_widths=few_widths, labels=-100)
        if "prompt_ids" in features[0]:
            batch["rows"] = [{name: row[name] for name in HELD_OUT_FIELDS} for row in features]
        return batch

    def _held_out(
        self, input_ids: list[int], labels: list[int], turns: list[Turn], source: str, references: list[str]
    ) -> dict[str, Any]:
        return {
            "input_ids": input_ids[-self.max_width :],
            "labels": labels[-self.max_width :],
            "length": min(len(input_ids), self.max_width),
            "prompt_ids": self.prompt_ids(turns),
            "source": source,
            "references": references,
        }

    def _pieces(self, input_ids: list[int], labels: list[int]) -> list[dict[str, Any]]:
        context = self.max_width // CONTEXT_DIVISOR
        rows = []
        for start in range(0, max(1, len(input_ids) - context), self.max_width - context):
            piece, targets = (ids[start : start + self.max_width] for ids in (input_ids, labels))
            if start > 0:
                targets = [-100] * context + targets[context:]
            # a long first turn has pieces with nothing to learn
            if any(label != -100 for label in targets):
                rows.append({"input_ids": piece, "labels": targets, "length": len(piece)})
        return rows

    def _encode_with_template(self, turns: list[Turn]) -> tuple[list[int], list[int], int]:
        text, left_out = self._apply_template(turns), 0
        is_fast = self.tokenizer.is_fast
        encoded = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=is_fast)
        input_ids = encoded["input_ids"]
        labels = [-100] * len(input_ids)
        for index, turn in enumerate(turns):
            if turn.role != "assistant" or not turn.reply:
                continue
            before = self._apply_template(turns[:index], add_generation_prompt=True)
            # what ends a turn is learned, the line break between two turns is not
            after = self._apply_template(turns[: index + 1]).rstrip()
            # some templates rewrite earlier turns: a reply is learned only where its text is the same
            if not (text.startswith(before) and text.startswith(after)):
                left_out += 1
            elif is_fast:  # a token may hold the end of the prompt too: a line break, and that of the reply
                for token, (start, end) in enumerate(encoded["offset_mapping"]):
                    if start < len(after) and end > len(before):
                        labels[token] = input_ids[token]
            else:
                first, last = len(self._tokens(before)), len(self._tokens(after))
                labels[first:last] = input_ids[first:last]
        return input_ids, labels, left_out

    def _tokens(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _apply_template(self, turns: list[Turn], *, add_generation_prompt: bool = False) -> str:
        messages = [{"role": turn.role, "content": turn.content} for turn in turns]
        try:
            text: str = self.tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=add_generation_prompt
            )
        except TemplateError as error:
            roles = listed([turn.role for turn in turns])
            raise UserError(
                f"This model's chat template refuses a dialogue with the roles {roles}: {error}.\n"
                f"It begins {turns[0].content[:80]!r}. Put the roles in the order that the model was trained on."
            ) from error
        return text

    def _start(self) -> list[int]:
        first = self.tokenizer("a")["input_ids"][0]
        return [first] if first in (self.tokenizer.bos_token_id, self.tokenizer.cls_token_id) else []

    def _encode_turn(self, turn: Turn) -> list[int]:
        return [*self._tokens(turn.content), end_token_id(self.tokenizer)]


def _last_reply(turns: list[Turn]) -> int:
    """Return the index of the last reply that has a turn before it."""
    replies = [index for index, turn in enumerate(turns) if index > 0 and turn.reply]
    if not replies:
        raise ValueError(
            f"there is no reply: expected two turns or more, and one of the assistant, not {listed([t.role for t in turns])}. "
            "Where another role answers: data.reply_roles=[NAME]"
        )
    return replies[-1]
