"""Simulated clouds in the places of the configured ones: nothing of a test ever reaches a real cloud.

A stand-in keeps bytes as the local provider does and behaves, where policies notice, as the provider it stands for:
which consistency it reaches, whether increments need their parents, how long chains grow.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from csbsctl.clock import Clock
from csbsctl.config import Configuration, ProviderSettings
from csbsctl.errors import ResourceConflict
from csbsctl.model.backup import Kind, StoredVolume
from csbsctl.model.policy import Consistency
from csbsctl.provider import (
    Capabilities,
    Collected,
    Host,
    Provider,
    Snapshot,
    Step,
    VolumeSnapshot,
    load_provider,
)
from csbsctl.vault import Vault

SIMULATED = "local"


def stand_ins(configuration: Configuration, folder: Path, clock: Clock, vault: Vault) -> dict[str, Provider]:
    """Return a simulated cloud for every configured provider; each lives in a folder of its own."""
    return {
        name: _stand_in(settings, folder / f"cloud-{number}", clock, vault)
        for number, (name, settings) in enumerate(sorted(configuration.providers.items()))
    }


def _stand_in(settings: ProviderSettings, folder: Path, clock: Clock, vault: Vault) -> Provider:
    local = load_provider(SIMULATED)
    # One server after the other, so that a test goes the same way every time.
    ours = {"path": str(folder), "parallel": 1, "threads": 1}
    own = settings.settings if settings.type == SIMULATED else {}
    simulated = local.Settings.model_validate({**own, **ours})
    host = Host(
        name=settings.name, base=folder, clock=clock, blobs=vault.data(settings.name), sealer=vault.sealer
    )
    stand_in: Provider = _posing(local)(simulated, host, _capabilities(settings, host))
    return stand_in


def _capabilities(settings: ProviderSettings, host: Host) -> Capabilities:
    """Return what the provider that is stood in for says of itself; it connects at no call before its first."""
    kind = load_provider(settings.type)
    real = kind(kind.Settings.model_validate(settings.settings), host)
    try:
        return real.capabilities
    finally:
        real.close()


def _posing(local: type[Provider]) -> type[Any]:
    """Return the local provider's class (found by its name, like any) with the manners of another."""

    class Posing(local):  # type: ignore[misc, valid-type] # known only when the test runs
        """A simulated cloud that claims and does what another kind of cloud would."""

        def __init__(self, settings: Any, host: Host, claimed: Capabilities) -> None:
            super().__init__(settings, host)
            self._claimed = claimed
            self._children: dict[str, set[str]] = {}
            """Refs of stored disks by the ref of the parent they cannot be restored without."""

        @property
        def capabilities(self) -> Capabilities:
            """See Provider."""
            own: Capabilities = super().capabilities
            return dataclasses.replace(
                own,
                consistency=self._claimed.consistency,
                incremental=self._claimed.incremental,
                chains=self._claimed.chains,
                full_every=self._claimed.full_every,
            )

        def snapshot(self, step: Step, server_id: str, need: Consistency) -> Snapshot:
            """See Provider; every level that the other cloud has is reached."""
            simulated = need if need in super().capabilities.consistency else Consistency.CRASH
            taken: Snapshot = super().snapshot(step, server_id, simulated)
            reached = max(taken.consistency, need, key=lambda level: level.rank)
            return dataclasses.replace(taken, consistency=reached)

        def store(self, step: Step, snapshot: VolumeSnapshot, parent: StoredVolume | None) -> StoredVolume:
            """See Provider; an increment needs its parent where the other cloud has chains."""
            stored: StoredVolume = super().store(step, snapshot, parent)
            if not self._claimed.chains or parent is None or stored.kind is Kind.FULL:
                return stored
            self._children.setdefault(parent.ref, set()).add(stored.ref)
            return stored.model_copy(update={"parent": parent.ref})

        def delete(self, step: Step, stored: StoredVolume) -> None:
            """See Provider; what others need is not deleted."""
            if self._children.get(stored.ref):
                raise ResourceConflict(f"increments depend on {stored.name} ({stored.ref})")
            super().delete(step, stored)
            for children in self._children.values():
                children.discard(stored.ref)

        def collect(self, step: Step, open_jobs: frozenset[str]) -> Collected:
            """See Provider; there is no room to be won, and looking for it is half of what a year would take."""
            del step, open_jobs
            return Collected()

    return Posing
