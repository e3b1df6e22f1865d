"""Whether explanations tell which words mattered: those on top are deleted, and as many at random.

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

SHARES = (0.1, 0.2)  # of a text's words
DRAWS = 10  # at random, whose mean stands beside the words on top


def without(text: str, words: Sequence[Word]) -> str:
    """Return a text without some of its words."""
    for word in sorted(words, key=lambda word: -word.place.start):
        text = text[: word.place.start] + text[word.place.end :]
    return " ".join(text.split())


def shortened(explanation: Explanation, *, share: float, rng: random.Random) -> tuple[str, list[str]]:
    """Return a text without the words that spoke most for its label, and ``DRAWS`` times without as many at random."""
    text = explanation.texts[0]
    read = [word for word in explanation.words if word.score is not None]
    count = max(1, round(share * len(read)))
    top = sorted(read, key=lambda word: -(word.score or 0))[:count]
    return without(text, top), [without(text, rng.sample(read, count)) for _ in range(DRAWS)]


def measure(
    explanations: Sequence[Explanation],
    probability: Callable[[Sequence[str], Sequence[str]], list[float]],
    *,
    share: float,
    rng: random.Random,
) -> tuple[list[float], list[float]]:
    """Return by how much the probability of each label falls without the words on top, and without random ones.

    Args:
        explanations: of single texts.
        probability: of labels, given texts and labels.
        share: of the words that are deleted.
        rng: draws words.
    """
    pairs = [shortened(one, share=share, rng=rng) for one in explanations]
    texts = [text for top, drawn in pairs for text in (top, *drawn)]
    labels = [one.label for one in explanations for _ in range(1 + DRAWS)]
    left = iter(probability(texts, labels))
    by_top, by_chance = [], []
    for one in explanations:
        assert one.probability is not None
        by_top.append(one.probability - next(left))
        by_chance.append(one.probability - statistics.fmean(next(left) for _ in range(DRAWS)))
    return by_top, by_chance


def main() -> None:
    """Measure a run on rows of its test split."""
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

    words = statistics.fmean(len(one.words) for one in explanations)
    table = Table("words deleted", "the top ones", "random ones", "difference ± standard error")
    for share in SHARES:
        by_top, by_chance = measure(explanations, probability, share=share, rng=rng)
        more = [top - chance for top, chance in zip(by_top, by_chance, strict=True)]
        error = statistics.stdev(more) / len(more) ** 0.5
        drops = (statistics.fmean(by_top), statistics.fmean(by_chance))
        table.add_row(f"{share:.0%}", *(f"{drop:.3f}" for drop in drops), f"{statistics.fmean(more):.3f} ± {error:.3f}")
    console = Console()
    console.print(f"{len(texts)} test rows of {words:.0f} words; mean fall of the predicted label's probability:")
    console.print(table)
    failed = sum(not one.converged for one in explanations)
    steps = statistics.fmean(one.steps for one in explanations)
    console.print(f"{steps:.0f} steps on average; {failed} explanation(s) did not converge")


if __name__ == "__main__":
    main()
