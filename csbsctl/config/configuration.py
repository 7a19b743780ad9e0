"""A loaded configuration: everything that was declared, after evaluation, and where each part of it stands."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from csbsctl.config.document import Moved, VaultSettings
from csbsctl.diagnostics import Place
from csbsctl.model.declared import Declared

if TYPE_CHECKING:
    from csbsctl.config.gathering import Gathered

_SECTIONS = {
    "policy": "policies",
    "binding": "bindings",
    "objective": "objectives",
    "provider": "providers",
    "variable": "variables",
}


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """A provider as declared; ``settings`` is the mapping without ``type``, for the provider's own model to check."""

    name: str
    type: str
    settings: dict[str, Any]


@dataclass(frozen=True)
class Configuration:
    """What a stack declares and what is needed to reach it. ``root`` is the folder that relative paths start at."""

    root: Path
    files: tuple[Path, ...]
    stack: str
    vault: VaultSettings
    providers: dict[str, ProviderSettings]
    declared: Declared
    canonical: dict[str, Any]
    """``declared.canonical()``, computed once."""
    moved: tuple[Moved, ...]
    digest: str
    """SHA-256 (hex) of all that was declared after evaluation; secrets count in it and cannot be read from it."""
    sensitive: frozenset[str]
    """Texts that must never be printed or stored."""
    _gathered: Gathered = field(repr=False, compare=False)

    def place(self, address: str, *path: str | int) -> Place | None:
        """Return where an address (``policy.gold``, ``guardrails``), or a path below it, stands in the files.

        Positions are computed when first asked for. A path that was not written (a default) gives the place of the
        nearest part that was; an address that was not written gives None.
        """
        kind, _, name = address.partition(".")
        start = (_SECTIONS[kind], name) if kind in _SECTIONS and name else (address,)
        if not self._gathered.declares(start):
            return None
        return self._gathered.locate((*start, *path))
