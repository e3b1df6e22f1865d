"""Tags of words, such as B-PER, I-PER and O, and the entities that they stand for."""

from collections.abc import Iterable, Sequence

Span = tuple[str, int, int]
"""An entity: its type, its first word, and the word after its last."""

PREFIXES = frozenset("BIMESLU")
BEGINNING = frozenset("BSU")
ENDING = frozenset("ESLU")


def spans(tags: Sequence[str]) -> list[Span]:
    """Read the entities off the tags of a text.

    An entity goes on as long as its type does. It also begins at B-, S- and U-, and ends after E-, L-, S- and U-.
    So every scheme is read right without being told which it is: BIO, IOB1 (B- only between two entities of
    a type), BIOES, BILOU, BMES, and tags without a prefix. A stray I- begins an entity, as in the shared tasks'
    own scorer (Tjong Kim Sang and De Meulder, 2003) and in seqeval.

    Args:
        tags: one a word; ``O`` is outside of any entity.
    """
    found: list[Span] = []
    current: str | None = None
    start = 0
    for index, tag in enumerate(tags):
        prefix, kind = _parts(tag)
        if current is not None and (kind != current or prefix in BEGINNING):
            found.append((current, start, index))
            current = None
        if kind is not None and current is None:
            current, start = kind, index
        if current is not None and prefix in ENDING:
            found.append((current, start, index + 1))
            current = None
    if current is not None:
        found.append((current, start, len(tags)))
    return found


def to_bio(tags: Sequence[str]) -> list[str]:
    """Write tags of any scheme as B-TYPE for the first word of an entity, I-TYPE for the others, O outside."""
    written = ["O"] * len(tags)
    for kind, start, end in spans(tags):
        written[start:end] = [f"B-{kind}"] + [f"I-{kind}"] * (end - start - 1)
    return written


def entity_types(tags: Iterable[str]) -> list[str]:
    """List the types that tags name, each once, in the order in which they come."""
    kinds = (_parts(tag)[1] for tag in tags)
    return list(dict.fromkeys(kind for kind in kinds if kind is not None))


def label_names(types: Iterable[str]) -> list[str]:
    """Return what a model tells apart: O, and B-TYPE and I-TYPE for every type."""
    return ["O", *(f"{prefix}-{kind}" for kind in types for prefix in "BI")]


def _parts(tag: str) -> tuple[str, str | None]:
    """Split a tag in prefix and type: ``B-PER`` in B and PER, ``PER`` in I and PER, ``O`` in O and None."""
    if tag == "O":
        return "O", None
    if tag in PREFIXES:  # B, I and O alone, where there is only one type
        return tag, "entity"
    prefix, dash, kind = tag.partition("-")
    return (prefix, kind) if dash and prefix in PREFIXES else ("I", tag)
