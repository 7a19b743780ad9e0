"""The doom list: packs that nothing needed at some moment, on their way out. See ``collect`` for the protocol."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from csbsctl.blobs import BlobExists, BlobNotFound, BlobStore
from csbsctl.ids import new_id

from .codec import Codec
from .layout import DOOM, PackId
from .session import load_document, store_document


@dataclass(frozen=True, slots=True)
class Verdict:
    """One entry of the doom list: which packs, and which sessions (nonce -> job) and jobs have to end first.

    ``sessions`` is None while the collector that wrote the entry did not live to say who was there.
    """

    id: str
    packs: frozenset[PackId]
    sessions: dict[str, str] | None
    jobs: frozenset[str]

    def ready(self, open_jobs: frozenset[str], registered: Iterable[str]) -> bool:
        """Say whether everybody who may rely on the packs has ended."""
        if self.sessions is None or self.jobs & open_jobs:
            return False
        present = set(registered)
        return not any(nonce in present and job in open_jobs for nonce, job in self.sessions.items())


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
        keys = [blob.key for blob in self._blobs.list(DOOM)]
        found = []
        for key in keys:
            if not key.endswith("/packs"):
                continue
            try:
                packs = load_document(self._blobs, self._codec, key)["packs"]
            except BlobNotFound:
                continue
            name = key.split("/")[1]
            sessions, jobs = self._waits(name) if f"{DOOM}{name}/waits" in keys else (None, frozenset[str]())
            found.append(
                Verdict(name, frozenset(PackId(bytes.fromhex(pack)) for pack in packs), sessions, jobs)
            )
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

    def lift(self, name: str) -> None:
        """Remove a verdict that was carried out or withdrawn."""
        self._blobs.delete(f"{DOOM}{name}/packs")
        self._blobs.delete(f"{DOOM}{name}/waits")

    def sweep(self) -> None:
        """Remove what a collector that was thought dead added to verdicts that are carried out."""
        keys = [blob.key for blob in self._blobs.list(DOOM)]
        for key in keys:
            verdict, _, part = key.rpartition("/")
            if part == "waits" and f"{verdict}/packs" not in keys:
                self._blobs.delete(key)

    def _waits(self, name: str) -> tuple[dict[str, str] | None, frozenset[str]]:
        try:
            document = load_document(self._blobs, self._codec, f"{DOOM}{name}/waits")
        except BlobNotFound:
            return None, frozenset()
        return dict(document["sessions"]), frozenset(document["jobs"])
