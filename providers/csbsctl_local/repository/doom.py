"""The doom list: packs that nothing needed at some moment, on their way out. See ``collect`` for the protocol."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from csbsctl.blobs import BlobExists, BlobNotFound, BlobStore
from csbsctl.ids import new_id

from .codec import Codec
from .layout import DOOM, PackId
from .session import Registration, load_document, store_document

STAGES = ("unindexed", "deleted")
"""How far a verdict was carried out, where that takes several collections because listings lag."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One entry of the doom list: which packs, and which sessions (nonce -> job) and jobs have to end first.

    ``sessions`` is None while the collector that wrote the entry did not live to say who was there.
    """

    id: str
    packs: frozenset[PackId]
    sessions: dict[str, str] | None
    jobs: frozenset[str]
    stages: Mapping[str, datetime]
    """When each of its objects was stored, by the store's time: ``packs``, ``waits``, ``unindexed``, ``deleted``."""
    confirmed: frozenset[PackId]
    """The packs that nothing needed when it was ready, where that takes two looks because listings lag."""

    def ready(
        self, open_jobs: frozenset[str], registered: Mapping[str, Registration], now: datetime, lag: timedelta
    ) -> bool:
        """Say whether everybody who may rely on the packs has ended.

        Where listings lag, who registered just before the verdict may have missed it, and be missed in its ``waits``.
        What they stored has to be listed by now as well, before anybody counts what is needed.
        """
        if self.sessions is None or self.jobs & open_jobs or not self.past("packs", now, 2 * lag):
            return False
        unaware = self.stages["packs"] + lag
        return not any(
            each.job in open_jobs and (nonce in self.sessions or (lag and each.modified < unaware))
            for nonce, each in registered.items()
        )

    def past(self, stage: str, now: datetime, lag: timedelta) -> bool:
        """Say whether a stage was reached, and every listing shows it by now."""
        return stage in self.stages and self.stages[stage] + lag <= now


class DoomList:
    """All verdicts of a repository."""

    def __init__(self, blobs: BlobStore, codec: Codec) -> None:
        self._blobs = blobs
        self._codec = codec

    def packs(self) -> set[PackId]:
        """Return every doomed pack."""
        return {pack for verdict in self.verdicts() for pack in verdict.packs}

    def verdicts(self) -> list[Verdict]:
        """Return every verdict, in no order that means anything."""
        stored = {blob.key: blob.modified for blob in self._blobs.list(DOOM)}
        found = []
        for key in stored:
            if not key.endswith("/packs"):
                continue
            try:
                packs = load_document(self._blobs, self._codec, key)["packs"]
            except BlobNotFound:
                continue
            name = key.split("/")[1]
            sessions, jobs = (
                self._waits(name) if f"{DOOM}{name}/waits" in stored else (None, frozenset[str]())
            )
            stages = {
                other.rpartition("/")[2]: at
                for other, at in stored.items()
                if other.startswith(f"{DOOM}{name}/")
            }
            confirmed = self._confirmed(name) if "unindexed" in stages else frozenset[PackId]()
            found.append(Verdict(name, _ids(packs), sessions, jobs, stages, confirmed))
        return found

    def condemn(self, packs: Iterable[PackId]) -> str:
        """Store a verdict; return its id."""
        name = new_id().replace("-", "")
        document = {"packs": sorted(pack.hex() for pack in packs)}
        store_document(self._blobs, self._codec, f"{DOOM}{name}/packs", document)
        return name

    def wait_for(self, name: str, sessions: dict[str, str], jobs: Iterable[str]) -> None:
        """Say who was there after a verdict was stored; only the first time counts."""
        try:
            document = {"sessions": sessions, "jobs": sorted(jobs)}
            store_document(self._blobs, self._codec, f"{DOOM}{name}/waits", document)
        except BlobExists:
            return

    def reach(self, name: str, stage: str, packs: Iterable[PackId] = ()) -> None:
        """Note how far a verdict was carried out, for which packs, where listings lag."""
        document = {"packs": sorted(pack.hex() for pack in packs)}
        try:
            store_document(self._blobs, self._codec, f"{DOOM}{name}/{stage}", document)
        except BlobExists:
            return

    def reached(self, name: str, stage: str) -> bool:
        """Say whether a verdict was carried out as far as that, even a moment ago."""
        try:
            self._blobs.get(f"{DOOM}{name}/{stage}", 0, 1)
        except BlobNotFound:
            return False
        return True

    def lift(self, name: str) -> None:
        """Remove a verdict that was carried out or withdrawn."""
        for part in ("packs", "waits", *STAGES):
            self._blobs.delete(f"{DOOM}{name}/{part}")

    def sweep(self) -> None:
        """Remove what a collector that was thought dead added to verdicts that are carried out."""
        keys = [blob.key for blob in self._blobs.list(DOOM)]
        for key in keys:
            verdict, _, part = key.rpartition("/")
            if part != "packs" and f"{verdict}/packs" not in keys:
                self._blobs.delete(key)

    def _confirmed(self, name: str) -> frozenset[PackId]:
        try:
            return _ids(load_document(self._blobs, self._codec, f"{DOOM}{name}/unindexed")["packs"])
        except BlobNotFound:
            return frozenset()

    def _waits(self, name: str) -> tuple[dict[str, str] | None, frozenset[str]]:
        try:
            document = load_document(self._blobs, self._codec, f"{DOOM}{name}/waits")
        except BlobNotFound:
            return None, frozenset()
        return dict(document["sessions"]), frozenset(document["jobs"])


def _ids(packs: Iterable[str]) -> frozenset[PackId]:
    return frozenset(PackId(bytes.fromhex(pack)) for pack in packs)
