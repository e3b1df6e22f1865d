"""Test whether explanations name the words that matter: delete the top words, or as many at random, and compare.

python benchmarks/deletion.py RUN
"""

import argparse
import random
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from lightune.commands.open_run import load
from lightune.runs.explain import Explanation, Word, explain
from lightune.runs.inference import Predictor
from lightune.runs.load_run import make_data

# shares of a text's words
SHARES = (0.1, 0.2)
# random deletions per text, of which the mean is compared
DRAWS = 10


def without(text: str, words: Sequence[Word]) -> str:
    """Return a text without some of its words."""
    for word in sorted(words, key=lambda word: -word.place.start):
        text = text[: word.place.start] + text[word.place.end :]
    return " ".join(text.split())


def shortened(explanation: Explanation, *, share: float, rng: random.Random) -> tuple[str, list[str]]:
    """Return a text without its top words, and ``DRAWS`` copies without as many random words.

    The top words are those with the highest score for the predicted label.
    """
    text = explanation.texts[0]
    scored = [word for word in explanation.words if word.score is not None]
    count = max(1, round(share * len(scored)))
    top = sorted(scored, key=lambda word: -(word.score or 0))[:count]
    return without(text, top), [without(text, rng.sample(scored, count)) for _ in range(DRAWS)]


def measure(
    explanations: Sequence[Explanation],
    probability: Callable[[Sequence[str], Sequence[str]], list[float]],
    *,
    share: float,
    rng: random.Random,
) -> tuple[list[float], list[float]]:
    """Return the fall of each label's probability without the top words, and without random words.

    Args:
        explanations: of single texts.
        probability: returns the probabilities of labels, given texts and labels.
        share: share of the words to delete.
        rng: draws the random words.
    """
    pairs = [shortened(explanation, share=share, rng=rng) for explanation in explanations]
    texts = [text for top, random_ones in pairs for text in (top, *random_ones)]
    labels = [explanation.label for explanation in explanations for _ in range(1 + DRAWS)]
    probabilities = iter(probability(texts, labels))
    top_falls, random_falls = [], []
    for explanation in explanations:
        before = explanation.probability
        assert before is not None
        top_falls.append(before - next(probabilities))
        random_falls.append(before - statistics.fmean(next(probabilities) for _ in range(DRAWS)))
    return top_falls, random_falls


def main() -> None:
    """Measure a run on rows of its test split, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, metavar="RUN", help="of text classification, on single texts")
    parser.add_argument("--rows", type=int, default=100)
    arguments = parser.parse_args()
    cfg, task, preprocessor = load(arguments.run)
    data = make_data(cfg, preprocessor)
    data.setup()
    (column,) = preprocessor.input_columns
    rng = random.Random(0)
    texts = rng.sample(list(data.rows["test"][column]), arguments.rows)
    explanations = [explain(task, preprocessor, [text])[0] for text in texts]
    predictor = Predictor(task, preprocessor, precision=cfg.trainer.precision)

    def probability(texts: Sequence[str], labels: Sequence[str]) -> list[float]:
        batches = (texts[start : start + 32] for start in range(0, len(texts), 32))
        predictions = [row for batch in batches for row in predictor.predict([(text,) for text in batch])]
        return [row["probabilities"][label] for row, label in zip(predictions, labels, strict=True)]

    words = statistics.fmean(len(explanation.words) for explanation in explanations)
    table = Table("words deleted", "top words", "random words", "difference ± standard error")
    for share in SHARES:
        falls = measure(explanations, probability, share=share, rng=rng)
        differences = [top - chance for top, chance in zip(*falls, strict=True)]
        error = statistics.stdev(differences) / len(differences) ** 0.5
        table.add_row(
            f"{share:.0%}",
            *(f"{statistics.fmean(fall):.3f}" for fall in falls),
            f"{statistics.fmean(differences):.3f} ± {error:.3f}",
        )
    console = Console()
    console.print(f"{len(texts)} test rows of {words:.0f} words; mean fall of the predicted label's probability:")
    console.print(table)
    failed = sum(not explanation.converged for explanation in explanations)
    steps = statistics.fmean(explanation.steps for explanation in explanations)
    console.print(f"{steps:.0f} steps on average; {failed} explanation(s) did not converge")


if __name__ == "__main__":
    main()
