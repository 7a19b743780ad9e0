"""One quota of a project, as Nova, Cinder and Glance tell it: so much is allowed, so much is used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Limit:
    """A quota, in the cloud's own unit; ``allowed`` is None where there is no end to it."""

    allowed: int | None
    used: int

    def short_of(self, needed: int) -> bool:
        """Whether so many more do not fit."""
        return self.allowed is not None and self.used + needed > self.allowed


def limit(allowed: int | None, used: int) -> Limit:
    """Return a quota from the cloud's figures, in which a negative number, or none, means no end."""
    return Limit(None if allowed is None or allowed < 0 else allowed, used)


def limit_in(answer: Json, most: str, used: str) -> Limit:
    """Return a quota from the answer of Nova or Cinder to ``/limits``, by the names of its two figures."""
    figures = answer["limits"]["absolute"]
    return limit(figures.get(most), figures.get(used, 0))
