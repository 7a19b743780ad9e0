"""What one stack wants: the declared form, renames, and where in the files it stands.

Made from a configuration, from nothing (``destroy``) or from an older generation (``rollback``); planning does not
care which. Knows nothing of what is live.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

from csbsctl.diagnostics import Place, did_you_mean
from csbsctl.engine.addresses import Canonical, addresses, empty, look_up, put
from csbsctl.engine.digests import digest_of
from csbsctl.errors import NotFound
from csbsctl.model.declared import Declared


class Locator(Protocol):
    """Says where an attribute of an address stands in the files."""

    def __call__(self, address: str, *path: str | int) -> Place | None:
        """Return the place, or None where there is none."""
        ...


def nowhere(address: str, *path: str | int) -> Place | None:
    """Return no place: for what does not come from files."""
    del address, path
    return None


@dataclass(frozen=True)
class Desired:
    """One stack's wishes. ``moved`` maps former addresses to new ones; ``sensitive`` are values never to be shown."""

    stack: str
    canonical: Canonical
    moved: Mapping[str, str]
    digest: str
    sensitive: frozenset[str] = frozenset()
    commit: str | None = None
    place: Locator = nowhere
    targets: tuple[str, ...] = ()
    """Where not empty: only these addresses are wanted otherwise than they are live."""

    @cached_property
    def declared(self) -> Declared:
        """Return the typed form; parsing it is put off until something needs it."""
        return Declared.model_validate(self.canonical)

    @classmethod
    def of(cls, configuration: Any, *, commit: str | None = None) -> Desired:
        """Return what a loaded configuration (``csbsctl.config.Configuration``) wants."""
        moved = {move.from_address: move.to_address for move in configuration.moved}
        made = cls(
            stack=configuration.stack,
            canonical=configuration.canonical,
            moved=moved,
            digest=configuration.digest,
            sensitive=configuration.sensitive,
            commit=commit,
            place=configuration.place,
        )
        made.__dict__["declared"] = configuration.declared  # already parsed: spare the second time
        return made

    @classmethod
    def nothing(cls, stack: str) -> Desired:
        """Return the wish that a stack be gone (``destroy``)."""
        return cls.form(stack, empty())

    @classmethod
    def form(cls, stack: str, canonical: Canonical, *, moved: Mapping[str, str] | None = None) -> Desired:
        """Return the wish for a canonical form that comes from no file."""
        return cls(stack=stack, canonical=canonical, moved=moved or {}, digest=digest_of(canonical))

    def only(self, targets: tuple[str, ...], live: Canonical) -> Desired:
        """Return the wish reduced to some addresses and the policies they need; all else stays as it is live.

        Raises:
            NotFound: an address is neither declared nor live.
        """
        wanted = live
        reduced = dict.fromkeys(targets)
        for address in targets:
            value = look_up(self.canonical, address)
            if value is None and look_up(live, address) is None:
                known = dict.fromkeys((*addresses(self.canonical), *addresses(live)))
                hint = did_you_mean(address, known) or "`csbsctl show` shows what is in force"
                raise NotFound(f"{address} is neither declared nor live", code="address.unknown", hint=hint)
            wanted = put(wanted, address, value)
            policy = f"policy.{value['policy']}" if value and address.startswith("binding.") else None
            if policy and look_up(live, policy) is None:
                wanted = put(wanted, policy, look_up(self.canonical, policy))
                reduced[policy] = None
        return replace(self, canonical=wanted, targets=tuple(reduced))

    def addresses(self) -> list[str]:
        """Return every address that is wanted."""
        return list(addresses(self.canonical))
