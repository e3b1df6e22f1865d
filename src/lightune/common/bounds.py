"""Bounded numbers, for type hints of options."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Interval


@dataclass(frozen=True)
class Between(Interval):
    """Inclusive bounds of a number, beside its type in ``Annotated``; pydantic checks them too."""

    def __init__(self, least: float, most: float | None = None) -> None:
        super().__init__(ge=least, le=most)

    def __str__(self) -> str:
        return f"of at least {self.ge}" if self.le is None else f"from {self.ge} to {self.le}"


Count = Annotated[int, Between(1)]
Whole = Annotated[int, Between(0)]
Share = Annotated[float, Between(0, 1)]
Seed = Annotated[int, Between(0, 2**32 - 1)]
