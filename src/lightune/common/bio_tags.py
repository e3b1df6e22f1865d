"""Tags of words, such as B-PER, I-PER and O, and the entities that they mark."""

import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from lightune.common.errors import listed

# an entity: its type, the index of its first word, and the index after its last
Span = tuple[str, int, int]
PREFIXES = frozenset("BIMESLU")
BEGINNING = frozenset("BSU")
ENDING = frozenset("ESLU")
PREFIXED = re.compile(r"(?P<prefix>[BIMESLUW])(?:[-_](?P<kind>.+))?", re.IGNORECASE)  # some write W- for S-
SUFFIXED = re.compile(r"(?P<kind>.+)[-_](?P<prefix>[BIMESLUW])", re.IGNORECASE)
NO_TYPE = re.compile(r"\d+|[_-]|.*\*.*|[\[<].*[\]>]")  # 7, _, (PER*, [CLS]


def read_spellings(tags: Iterable[str]) -> dict[str, str]:
    """Return each of the tags of a data set as ``spans`` reads it; those that fit no scheme are left out.

    Also ``o``, ``b-PER``, ``B_PER`` and ``PER-B`` are read. Tags without a prefix are types, where none has a prefix.
    """
    distinct = [*dict.fromkeys(tags)]
    inside = [tag for tag in distinct if tag not in ("O", "o")]
    read = {tag: tag for tag in inside if not NO_TYPE.fullmatch(tag)}
    for pattern in (PREFIXED, SUFFIXED):
        parts = {tag: match for tag in inside if (match := pattern.fullmatch(tag))}
        begin, go_on = ({m["kind"] for m in parts.values() if m["prefix"].upper() == letter} for letter in "BI")
        fits_all = len(parts) == len(inside) and any(m["prefix"].upper() in "BISU" for m in parts.values())
        if begin & go_on or (pattern is PREFIXED and (fits_all or any(tag[:2] in ("B-", "I-") for tag in parts))):
            prefixes = {tag: match["prefix"].upper().replace("W", "S") for tag, match in parts.items()}
            kinds = {match["kind"] for match in parts.values()}
            read = {tag: tag for tag in inside if tag in kinds}  # a known type without a prefix goes on
            read |= {tag: f"{prefixes[tag]}-{match['kind'] or 'entity'}" for tag, match in parts.items()}
            break
    read |= dict.fromkeys(("O", "o"), "O")
    return {tag: read[tag] for tag in distinct if tag in read}


def no_scheme(tag: str, spellings: Mapping[str, str]) -> str:
    """Return the end of a message about a tag that fits no scheme."""
    others = f" beside {listed(spellings, limit=4)}" if spellings else ""
    return f"{tag!r} is no tag{others}.\nExpected O, B-TYPE or I-TYPE for each word, or another scheme throughout."


def spans(tags: Sequence[str]) -> list[Span]:
    """Return the entities that the tags of a text mark; ``O`` is outside of any entity.

    An entity lasts as long as its type does. It also begins at B-, S- and U-, and ends after E-, L-, S- and U-. So
    every scheme is read correctly without its name: BIO, IOB1 (B- only between two entities of the same type), BIOES,
    BILOU, BMES, and tags without a prefix. A stray I- begins an entity, as in the shared tasks' own scorer (Tjong Kim
    Sang and De Meulder, 2003) and in seqeval.
    """
    entities: list[Span] = []
    goes_on = False
    for index, tag in enumerate(tags):
        prefix, kind = _parts(tag)
        if kind is None:
            goes_on = False
            continue
        if goes_on and kind == entities[-1][0] and prefix not in BEGINNING:
            entities[-1] = (kind, entities[-1][1], index + 1)
        else:
            entities.append((kind, index, index + 1))
        goes_on = prefix not in ENDING
    return entities


def to_bio(tags: Sequence[str]) -> list[str]:
    """Convert tags of any scheme: B-TYPE for the first word of an entity, I-TYPE for the others, O outside."""
    bio = ["O"] * len(tags)
    for kind, start, end in spans(tags):
        bio[start:end] = [f"B-{kind}"] + [f"I-{kind}"] * (end - start - 1)
    return bio


def entity_types(tags: Iterable[str]) -> list[str]:
    """List the types in tags, each once, in the order of their first appearance."""
    kinds = (_parts(tag)[1] for tag in tags)
    return list(dict.fromkeys(kind for kind in kinds if kind is not None))


def label_names(types: Iterable[str]) -> list[str]:
    """Return the labels of a model: O, and B-TYPE and I-TYPE for every type."""
    return ["O", *(f"{prefix}-{kind}" for kind in types for prefix in "BI")]


def may_follow(tags: Sequence[str]) -> np.ndarray:
    """Return which BIO tag may come after which, (tags + 1, tags) of bool: I-TYPE only within TYPE. The last row is the start."""
    goes_on = [[before[:2] in ("B-", "I-") and before[2:] == tag[2:] for tag in tags] for before in tags]
    is_free = np.array([not tag.startswith("I-") for tag in tags])
    return np.vstack([is_free | np.array(goes_on, dtype=bool), is_free])


def likeliest(log_probabilities: np.ndarray, *, allowed: np.ndarray) -> np.ndarray:
    """Return the likeliest tags, indices (words,), of which each may follow the one before, by Viterbi (1967).

    ``log_probabilities`` are (words, tags); for ``allowed`` see ``may_follow``.
    """
    best: np.ndarray = log_probabilities.argmax(axis=-1)
    if allowed[np.append(-1, best[:-1]), best].all():
        return best
    barred = np.where(allowed, 0.0, -np.inf)
    scores, origins = log_probabilities[0] + barred[-1], []
    for word in log_probabilities[1:]:
        by_origin = scores[:, None] + barred[:-1]
        origins.append(by_origin.argmax(axis=0))
        scores = by_origin.max(axis=0) + word
    best[-1] = scores.argmax()
    for index in range(len(origins) - 1, -1, -1):
        best[index] = origins[index][best[index + 1]]
    return best


def _parts(tag: str) -> tuple[str, str | None]:
    """Split a tag into prefix and type: ``B-PER`` in B and PER, ``PER`` in I and PER, ``O`` in O and None."""
    if tag == "O":
        return "O", None
    # B and I alone, where there is only one type
    if tag in PREFIXES:
        return tag, "entity"
    prefix, dash, kind = tag.partition("-")
    return (prefix, kind) if dash and prefix in PREFIXES else ("I", tag)
