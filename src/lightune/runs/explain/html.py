"""Explanations as HTML: a fragment for any page, and a page that needs nothing else."""

from collections.abc import Iterable, Iterator

from markupsafe import Markup

from lightune.common.html_pages import render
from lightune.runs.explain.explanation import Explanation, Word
from lightune.runs.explain.terminal import FAINTEST, beside_label, figures, strongest

# blue and red, which colour-blind people can tell apart
FOR, AGAINST = "30 110 235", "225 60 30"
# opacity: text stays readable in black and in white
DEEPEST = 0.55
LEGEND = Markup(
    f'<span style="background: rgb({FOR} / {DEEPEST})">Blue</span> words spoke for the label, '
    f'<span style="background: rgb({AGAINST} / {DEEPEST}); text-decoration: underline dotted">red, underlined</span> '
    "ones against it; point at a word for its score. Integrated gradients (Sundararajan et al., 2017): "
    "the scores add up to what the words changed, beside a text of padding."
)


def fragment(explanation: Explanation) -> Markup:
    """Return one explanation as an HTML element; its texts are escaped.

    Blue marks words that spoke for the label, red and an underline those against it; the deeper the colour, the
    larger the score, which the word's ``title`` shows. ``style.css`` is for the page around it.
    """
    return render(
        "runs/explain/explanation.html",
        label=explanation.label,
        beside_label=beside_label(explanation),
        texts=[_pieces(explanation, number) for number in range(len(explanation.texts))],
        lines=[*strongest(explanation), *figures(explanation)],
    )


def page(explanations: Iterable[Explanation], *, title: str) -> str:
    """Return a whole page, which follows the reader's light or dark theme."""
    fragments = [fragment(explanation) for explanation in explanations]
    return render("runs/explain/page.html", title=title, legend=LEGEND, explanations=fragments)


def _pieces(explanation: Explanation, number: int) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the parts of a text in order, words with their HTML attributes, the characters between them without."""
    largest = max((abs(word.score or 0) for word in explanation.words), default=0.0) or 1.0
    text, end = explanation.texts[number], 0
    for word in explanation.words:
        if word.place.text == number:
            yield text[end : word.place.start], {}
            yield word.text, _attributes(word, largest)
            end = word.place.end
    yield text[end:], {}


def _attributes(word: Word, largest: float) -> dict[str, str]:
    explained = " explained" if word.explained else ""
    if word.score is None:
        return {"class": f"unread{explained}", "title": "not read"}
    against, share = word.score < 0, abs(word.score) / largest
    return {
        "class": f"word{' against' if against and share >= FAINTEST else ''}{explained}",
        "title": f"{word.score:+.3f}",
        "style": f"background: rgb({AGAINST if against else FOR} / {DEEPEST * share:.2f})",
    }
