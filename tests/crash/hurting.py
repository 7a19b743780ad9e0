"""A file system that fails from a seed, for one process: the vault's folder only, not the clouds beside it."""

from __future__ import annotations

import errno
import os
import random
import threading
from collections.abc import Callable
from typing import Any

from csbsctl.vault.stores import directory

PASSING = (errno.EIO, errno.ESTALE)
LASTING = (errno.ENOSPC, errno.EROFS, errno.EACCES)
CALLS = ("write", "fsync", "link", "rename", "scandir")
"""What fails: writing, syncing, naming and listing. ``link`` and ``rename`` fail before or after they took effect."""


class HurtingSystem:
    """Stands for the module ``os`` where the folder store looks for it, and appends each failure to a file."""

    def __init__(self, seed: int, share: float, log: str) -> None:
        self._chance = random.Random(seed)
        self._share = share
        self._log = log
        self._full = 0
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        call = getattr(os, name)
        return self._failing(name, call) if name in CALLS else call

    def _failing(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def attempt(*arguments: Any, **options: Any) -> Any:
            number, late = self._draw(name)
            if number is None:
                return call(*arguments, **options)
            if late:
                call(*arguments, **options)
            with open(self._log, "a") as log:  # noqa: PTH123 - not the store's own calls
                log.write("x")
            raise OSError(number, os.strerror(number))

        return attempt

    def _draw(self, name: str) -> tuple[int | None, bool]:
        with self._lock:
            if self._full:  # a full disk stays full for a while
                self._full -= 1
                return (errno.ENOSPC, False) if name == "write" else (None, False)
            if self._chance.random() >= self._share:
                return None, False
            number = self._chance.choice((*PASSING, *PASSING, *LASTING))
            if number == errno.ENOSPC:
                self._full = self._chance.randrange(20)
            late = number in PASSING and name in ("link", "rename") and self._chance.random() < 0.5
            return number, late


def hurt(seed: int, share: float, log: str) -> None:
    """Let the folder store of this process meet failures from now on."""
    directory.os = HurtingSystem(seed, share, log)  # type: ignore[attr-defined]
