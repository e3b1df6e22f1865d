"""Numbers within bounds, for type hints of options."""

from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True)
class Between:
    """Bounds of a number, both allowed; stands in ``Annotated`` beside its type."""

    least: float
    most: float | None = None

    def __str__(self) -> str:
        return f"of at least {self.least}" if self.most is None else f"from {self.least} to {self.most}"

    def holds(self, value: float) -> bool:
        return self.least <= value and (self.most is None or value <= self.most)


Count = Annotated[int, Between(1)]


Whole = Annotated[int, Between(0)]


Share = Annotated[float, Between(0, 1)]


Seed = Annotated[int, Between(0, 2**32 - 1)]
