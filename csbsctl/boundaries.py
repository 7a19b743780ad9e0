"""Named step boundaries: the places between two steps where a crash must be survivable.

Code that does multi-step work declares its boundaries at import and calls them as it passes. Normally that costs one
comparison; with ``CSBSCTL_FAULT=kill:NAME[:N]`` the process kills itself (SIGKILL) at the Nth passage of NAME, which
is how crash safety is tested. ``csbsctl sim steps`` lists what is declared.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import re
import signal
import threading
from importlib.metadata import entry_points

_NAME = re.compile(r"[a-z][a-z0-9_.-]*")
_declared: dict[str, str] = {}
_boundaries: dict[str, list[Boundary]] = {}
_armed: dict[str, int] = {}
_lock = threading.Lock()


class Boundary:
    """A named place between two steps; call it when passing."""

    def __init__(self, name: str, meaning: str) -> None:
        if not _NAME.fullmatch(name) or _declared.setdefault(name, meaning) != meaning:
            msg = f"boundary name {name!r} is malformed or already declared with another meaning"
            raise ValueError(msg)
        self.name = name
        self._kill_in = _kill_countdown(name)
        _boundaries.setdefault(name, []).append(self)

    def __call__(self) -> None:
        """Pass the boundary; does not return when this passage is the one to die at."""
        if self._kill_in:
            with _lock:
                self._kill_in -= 1
                if not self._kill_in:
                    os.kill(os.getpid(), signal.SIGKILL)


def declared() -> dict[str, str]:
    """Return every boundary declared so far: name and what has just happened there, sorted by name."""
    return dict(sorted(_declared.items()))


def declared_anywhere() -> dict[str, str]:
    """Return every boundary of the core and of all installed providers, whether or not this process needs them."""
    roots = {"csbsctl"} | {
        entry.module.partition(".")[0] for entry in entry_points(group="csbsctl.providers")
    }
    for root in sorted(roots):
        package = importlib.import_module(root)
        for module in pkgutil.walk_packages(package.__path__, root + "."):
            if not module.name.endswith(".__main__"):
                importlib.import_module(module.name)
    return declared()


def arm(name: str, passage: int = 1) -> None:
    """Make this process kill itself at a passage of a boundary, as ``CSBSCTL_FAULT`` does: for processes that were forked."""
    _armed[name] = passage  # for modules that are imported later
    for boundary in _boundaries.get(name, ()):
        boundary._kill_in = passage  # noqa: SLF001 - its own module


def _kill_countdown(name: str) -> int:
    if name in _armed:
        return _armed[name]
    kind, _, rest = os.environ.get("CSBSCTL_FAULT", "").partition(":")
    step, _, count = rest.partition(":")
    if kind != "kill" or step != name:
        return 0
    return int(count) if count.isdigit() else 1
