"""Explanations as coloured text."""

import re

from rich.style import Style
from rich.text import Text

from lightune.runs.explain.explanation import Explanation, Word

FOR, AGAINST = "#4078f0", "#dc4b32"  # letters, readable on black and on white
FILLED_FOR, FILLED_AGAINST = "#6ea5ff", "#ff8269"  # behind black letters
FAINTEST, STRONG = 0.1, 0.4  # of the largest score: words from there on are coloured, and filled
NAMED = 10  # words with their scores
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def render(explanation: Explanation) -> Text:
    """Return one explanation for rich to print: the text, its words coloured, and the strongest with their scores."""
    most = max((abs(word.score or 0) for word in explanation.words), default=0.0) or 1.0
    out = Text(_shown(explanation.label), style="bold")
    out.append(_shown(beside_label(explanation)), style="not bold")
    for number, text in enumerate(explanation.texts):
        coloured = Text("\n" + _shown(text), style="not bold")
        for word in explanation.words:
            if word.place.text == number:
                coloured.stylize(_style(word, most), 1 + word.place.start, 1 + word.place.end)
        out.append_text(coloured)
    for line in (*strongest(explanation), *figures(explanation)):
        out.append("\n" + line, style="not bold")
    return out


def beside_label(explanation: Explanation) -> str:
    """Return what stands after a label: its probability, and the words that have it where it is not of all."""
    probability = "" if explanation.probability is None else f" {explanation.probability:.3f}"
    is_answer = explanation.labelled in ("", explanation.label)
    return probability if is_answer else f"{probability}: {explanation.labelled}"


def strongest(explanation: Explanation) -> list[str]:
    """Return up to two lines: the words that spoke most for the label, and those against it."""
    lines = []
    for side, sign in (("for", 1), ("against", -1)):
        if words := [word for word in explanation.strongest(count=NAMED) if sign * (word.score or 0) > 0]:
            lines.append(f"{side + ':':8} " + " · ".join(f"{_shown(word.text)} {word.score:+.2f}" for word in words))
    return lines


def figures(explanation: Explanation) -> list[str]:
    """Return lines that say what the scores add up to, and what to make of that."""
    what = "value" if explanation.probability is None else "log-odds"
    lines = [
        f"{what} {explanation.output:+.2f}, with padding in place of words {explanation.baseline:+.2f} "
        f"({explanation.steps} steps, delta {explanation.delta:+.3f})"
    ]
    if not explanation.converged:
        lines += ["Not converged: delta is more than 5 % of what the words changed. Take the scores as a rough guide."]
    if unread := sum(word.score is None for word in explanation.words):
        lines.append(f"{unread:,} word(s) without a score were not read, or not together with these.")
    return lines


def _shown(text: str) -> str:
    """Return a text that leaves a terminal as it is, as long as it was."""
    return CONTROL.sub("\ufffd", text)


def _style(word: Word, most: float) -> Style:
    if word.score is None:
        return Style(dim=True, italic=True)
    share = abs(word.score) / most
    own = Style(bold=word.explained)
    if share < FAINTEST:
        return own
    against = word.score < 0
    if share < STRONG:
        return own + Style(color=AGAINST if against else FOR, underline=against)
    return own + Style(color="#000000", bgcolor=FILLED_AGAINST if against else FILLED_FOR, underline=against)
