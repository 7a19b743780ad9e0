"""Runs many small requests at once, in order, without holding more results than are about to be used."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Input = TypeVar("Input")
Output = TypeVar("Output")

_AHEAD = 32
"""Requests in the window for each thread."""


def in_parallel(
    work: Callable[[Input], Output], inputs: Iterable[Input], threads: int, ahead: int = _AHEAD
) -> Iterator[Output]:
    """Yield the results of ``work`` in the order of the inputs, with a bounded number of them under way."""
    if threads < 2:  # noqa: PLR2004
        yield from map(work, inputs)
        return
    remaining = iter(inputs)
    with ThreadPoolExecutor(threads, thread_name_prefix="vault") as pool:
        while window := list(itertools.islice(remaining, threads * ahead)):
            yield from pool.map(work, window)
