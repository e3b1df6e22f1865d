"""Explanations as HTML: a fragment for any page, and a page that needs nothing else."""

from collections.abc import Iterable
from html import escape

from lightune.runs.explain.explanation import Explanation, Word
from lightune.runs.explain.terminal import FAINTEST, beside_label, figures, strongest

FOR, AGAINST = "30 110 235", "225 60 30"  # blue and red, which colour-blind people tell apart too
DEEPEST = 0.55  # opacity: text on it is readable in black and in white

STYLE = """.explanation { margin: 1.5em 0; line-height: 1.9 }
.explanation p { margin: .4em 0; white-space: pre-wrap; overflow-wrap: anywhere }
.explanation .word { border-radius: .2em; padding: .1em 0 }
.explanation .against { text-decoration: underline dotted; text-underline-offset: .25em }
.explanation .explained { outline: .12em solid; outline-offset: .05em }
.explanation .unread { opacity: .65; font-style: italic }
.explanation small { display: block; line-height: 1.5 }"""
"""What a page with fragments wants in its ``<style>``; without it they are readable, too."""


def fragment(explanation: Explanation) -> str:
    """Return one explanation as an HTML element, whatever its texts hold escaped.

    A word's background says what it did, the deeper the more: blue spoke for the label, red, underlined, against it. Its
    ``title`` says the score.
    """
    most = max((abs(word.score or 0) for word in explanation.words), default=0.0) or 1.0
    paragraphs = []
    for number, text in enumerate(explanation.texts):
        parts, at = [], 0
        for word in explanation.words:
            if word.place.text == number:
                parts += [escape(text[at : word.place.start]), _word(word, most)]
                at = word.place.end
        paragraphs.append(f"<p>{''.join(parts)}{escape(text[at:])}</p>")
    lines = "".join(
        f"<small>{escape(line)}</small>" for line in (*strongest(explanation), *figures(explanation))
    )
    head = f"<b>{escape(explanation.label)}</b>{escape(beside_label(explanation))}"
    return f'<div class="explanation">{head}{"".join(paragraphs)}{lines}</div>'


def page(explanations: Iterable[Explanation], *, title: str) -> str:
    """Return a whole page, light or dark as its reader's system is."""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(title)}</title>
<style>
:root {{ color-scheme: light dark }}
body {{ font: 1rem/1.6 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem }}
{STYLE}
</style>
</head>
<body>
<h1>{escape(title)}</h1>
<p>{LEGEND}</p>
{chr(10).join(map(fragment, explanations))}
</body>
</html>
"""


LEGEND = (
    f'<span style="background: rgb({FOR} / {DEEPEST})">Blue</span> words spoke for the label, '
    f'<span style="background: rgb({AGAINST} / {DEEPEST}); text-decoration: underline dotted">red, underlined</span> '
    "ones against it; point at a word for its score. Integrated gradients (Sundararajan et al., 2017): "
    "the scores add up to what the words changed, beside a text of padding."
)


def _word(word: Word, most: float) -> str:
    classes, colour = ["word"], ""
    if word.score is None:
        classes, title = ["unread"], "not read"
    else:
        title = f"{word.score:+.3f}"
        against = word.score < 0
        share = abs(word.score) / most
        colour = f' style="background: rgb({AGAINST if against else FOR} / {DEEPEST * share:.2f})"'
        if against and share >= FAINTEST:
            classes.append("against")
    if word.explained:
        classes.append("explained")
    return f'<span class="{" ".join(classes)}" title="{title}"{colour}>{escape(word.text)}</span>'
