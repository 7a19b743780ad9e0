"""A list of work that several threads take from, in order."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator


class Shared:
    """Gives each number to one thread; after ``stop`` to none."""

    def __init__(self, numbers: Iterable[int]) -> None:
        self._numbers: Iterator[int] = iter(numbers)
        self._lock = threading.Lock()  # guards _numbers

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        with self._lock:
            return next(self._numbers)

    def stop(self) -> None:
        """Give out nothing more."""
        with self._lock:
            self._numbers = iter(())
