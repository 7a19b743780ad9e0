"""What a benchmark is meant to reach, and whether it did: one line each, gathered at the end of ``make bench``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Target:
    """A figure beside the one that is wanted: at least that much, or at most."""

    what: str
    found: float
    wanted: float
    unit: str
    at_most: bool = False

    @property
    def met(self) -> bool:
        """Whether the figure, as it is printed, is as wanted."""
        found = round(self.found, 2)
        return found <= self.wanted if self.at_most else found >= self.wanted

    def __str__(self) -> str:
        bound = "at most " if self.at_most else ""
        verdict = "met" if self.met else "MISSED"
        return f"{self.what}: {self.found:.2f} {self.unit}, target {bound}{self.wanted:g}: {verdict}"
