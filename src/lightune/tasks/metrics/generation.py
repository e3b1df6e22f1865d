"""How good generated text is, by the field's reference implementations: sacrebleu and rouge-score.

torchmetrics has classes of these names, but its chrF and its smoothing of BLEU differ from sacrebleu's, and its ROUGE
fetches a sentence splitter from the network. Here each text's counts come from the reference implementation
and are summed, which is exact over batches and devices.
"""

import hashlib
import re
from typing import Literal

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from lightune.common.scripts import MARKS, SPACELESS, units
from lightune.tasks.metrics.sacrebleu_counts import corpus_score, language_code, make_scorer, text_counts

SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])\s*")
WORD = re.compile(rf"[{SPACELESS}]|(?:(?![_{SPACELESS}])[\w{MARKS}])+")


class UnicodeWords:
    """The words of texts in any language but English, without stemming; rouge-score's own keeps a to z alone."""

    def tokenize(self, text: str) -> list[str]:
        """Return words in lower case, and the single characters where a script has no spaces."""
        return WORD.findall(text.lower())


class SacreBLEU(Metric):
    """Corpus BLEU (Papineni et al., 2002; Post, 2018) or chrF (Popović, 2015), 0 to 100 as sacrebleu prints them.

    ``lowercase`` compares in lower case, for models that can write nothing else; for ``language`` see ``make_scorer``.
    """

    full_state_update = False
    counts: Tensor
    reference_counts: Tensor

    def __init__(self, *, score: Literal["bleu", "chrf"], lowercase: bool = False, language: str | None = None) -> None:
        super().__init__()
        self.scorer = make_scorer(score, lowercase=lowercase, language=language)
        size = len(self.row_counts("", [""]))
        self.add_state("counts", torch.zeros(size, dtype=torch.long), dist_reduce_fx="sum")
        # the fewest and the most references that a text had, for the signature; min as max of the negative
        self.add_state("reference_counts", torch.full((2,), -(2**31)), dist_reduce_fx="max")

    def update(self, predictions: list[str], references: list[list[str]]) -> None:
        """Add texts, each with its references."""
        for prediction, wanted in zip(predictions, references, strict=True):
            self.counts += torch.tensor(self.row_counts(prediction, wanted), device=self.device)
            seen = torch.tensor([-len(wanted), len(wanted)], device=self.device)
            self.reference_counts = torch.maximum(self.reference_counts, seen)

    def compute(self) -> Tensor:
        # the counts of all devices are known only in here
        fewest, most = (-self.reference_counts[0]).item(), self.reference_counts[1].item()
        self.scorer.num_refs = fewest if fewest == most else -1
        return torch.tensor(corpus_score(self.scorer, self.counts.tolist()), device=self.device)

    def signature(self) -> str:
        """Return sacrebleu's signature, by which a score can be compared with others."""
        self.compute()  # which keeps its result
        return str(self.scorer.get_signature().format())

    def row_counts(self, prediction: str, references: list[str]) -> list[int]:
        """Return the counts of a text, which add up to those of a corpus."""
        return text_counts(self.scorer, prediction, references)


class ROUGE(Metric):
    """ROUGE-1, -2, -L and -Lsum (Lin, 2004): mean F-measure over texts, 0 to 1, stemmed as is usual.

    Of several references the best counts, by each measure. Lsum wants a sentence a line: sentences are taken to end
    at ``.``, ``!`` and ``?``, and those of Chinese and Japanese. Other languages than English: ``UnicodeWords``.
    """

    full_state_update = False
    names = ("rouge1", "rouge2", "rougeL", "rougeLsum")
    total: Tensor
    count: Tensor

    def __init__(self, *, language: str | None = None) -> None:
        super().__init__()
        # it brings NLTK and scikit-learn, which other tasks need not hold in memory
        from rouge_score.rouge_scorer import RougeScorer

        self.tokenizer = None if language_code(language) in ("", "en", "eng") else UnicodeWords()
        self.scorer = RougeScorer(list(self.names), use_stemmer=True, tokenizer=self.tokenizer)
        self.add_state("total", torch.zeros(len(self.names), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, predictions: list[str], references: list[list[str]]) -> None:
        """Add texts, each with its references."""
        for prediction, wanted in zip(predictions, references, strict=True):
            # half precision makes its type that of new tensors
            self.total += torch.tensor(self.row_counts(prediction, wanted), dtype=torch.float64, device=self.device)
            self.count += 1

    def compute(self) -> dict[str, Tensor]:
        means = (self.total / self.count.clamp(min=1)).float()
        return dict(zip(self.names, means, strict=True))

    def row_counts(self, prediction: str, references: list[str]) -> list[float]:
        """Return the F-measures of a text, in the order of ``names``."""
        scores = self.scorer.score_multi([_lines(text) for text in references], _lines(prediction))
        return [scores[name].fmeasure for name in self.names]


class Distinct(Metric):
    """Distinct n-grams as a share of all n-grams generated, 0 to 1 (Li et al., 2016).

    They are of words, or of characters where a script has no spaces.
    """

    full_state_update = False
    seen: list[Tensor]
    count: Tensor

    def __init__(self, *, n: int) -> None:
        super().__init__()
        self.n = n
        self.add_state("seen", [], dist_reduce_fx="cat")
        self.add_state("count", torch.tensor(0.0), dist_reduce_fx="sum")
        # float64 holds the 48 bits of a digest, and a device without rows has the same type
        self.set_dtype(torch.float64)

    def update(self, predictions: list[str], references: list[list[str]]) -> None:
        """Add texts; references are not looked at."""
        for prediction in predictions:
            words = units(prediction)
            digests = [_digest(words[i : i + self.n]) for i in range(len(words) - self.n + 1)]
            self.seen.append(torch.unique(torch.tensor(digests, dtype=torch.float64, device=self.device)))
            self.count += len(digests)

    def compute(self) -> Tensor:
        distinct = len(torch.unique(dim_zero_cat(self.seen))) if len(self.seen) else 0
        return (distinct / self.count.clamp(min=1)).float()


class Degeneration(Metric):
    """Signs of a model that writes nonsense, each 0 to 1.

    ``repetition`` is the share of a text's 4-grams that repeat one before, on average over texts: seq-rep-4 of Welleck
    et al. (2020), Neural Text Generation with Unlikelihood Training, over words where they take tokens. ``empty`` is the
    share of texts without a word; ``distinct_outputs`` that of different texts among all.
    """

    full_state_update = False
    names = ("repetition", "empty", "distinct_outputs")
    seen: list[Tensor]
    sums: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("seen", [], dist_reduce_fx="cat")
        # of repetition, of empty texts, of all
        self.add_state("sums", torch.zeros(3), dist_reduce_fx="sum")
        # as of ``Distinct``
        self.set_dtype(torch.float64)

    def update(self, predictions: list[str], references: list[list[str]]) -> None:
        """Add texts; references are not looked at."""
        for prediction in predictions:
            words = units(prediction)
            grams = [tuple(words[i : i + 4]) for i in range(len(words) - 3)]
            repeated = 1 - len({*grams}) / len(grams) if grams else 0.0
            self.sums += torch.tensor([repeated, not words, 1], dtype=torch.float64, device=self.device)
            self.seen.append(torch.tensor([_digest(words)], dtype=torch.float64, device=self.device))

    def compute(self) -> dict[str, Tensor]:
        distinct = len(torch.unique(dim_zero_cat(self.seen))) if len(self.seen) else 0
        repeated, empty, texts = self.sums
        shares = torch.stack([repeated, empty, torch.full_like(texts, distinct)]) / texts.clamp(min=1)
        return dict(zip(self.names, shares.float(), strict=True))


def _digest(words: list[str]) -> int:
    """Return a number for an n-gram, which devices can exchange."""
    return int.from_bytes(hashlib.blake2b(" ".join(words).encode(), digest_size=6).digest())


def _lines(text: str) -> str:
    return SENTENCE_END.sub("\n", text)
