"""Checking the repository as a whole: packs against index against manifests; and repairing what can be repaired.

The tables in the packs are the truth about what is stored. Repair builds the index anew from them, moves what is
sound out of damaged packs, drops what is not, and writes down the names that are lost, so that the next backup of a
disk that still has those blocks stores them again, under the same names, and old manifests are whole again.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from csbsctl.boundaries import Boundary
from csbsctl.errors import Damaged

from .copier import Copier
from .deposit import Check, Deposit
from .layout import PACKS, ChunkName, PackId, pack_of_key
from .manifest import leaf_names
from .pack import Table
from .parts import Parts
from .session import Session, sessions
from .verify import Examined, PackExaminer, stored_table

REINDEXED = Boundary("repository.repair.indexed", "packs that the index had forgotten are indexed again")
SALVAGED = Boundary(
    "repository.repair.salvaged", "what is sound in damaged packs is copied, they are still listed"
)


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong with the repository, the manifests it hurts, and whether it was repaired."""

    message: str
    manifests: tuple[str, ...] = ()
    repaired: bool = False


@dataclass(slots=True)
class _Findings:
    unindexed: list[Table] = field(default_factory=list)
    bad: dict[PackId, Examined] = field(default_factory=dict)
    absent: set[ChunkName] = field(default_factory=set)


class Checkup:
    """One check of a repository."""

    def __init__(self, parts: Parts, job: str, *, read_data: bool, check: Check) -> None:
        self._parts = parts
        self._job = job
        self._read_data = read_data
        self._check = check
        self._examiner = PackExaminer(parts.blobs, parts.codec, parts.index)

    def run(self, *, repair: bool) -> list[Problem]:
        """Return what is wrong; nothing is well."""
        session = Session(self._parts.blobs, self._parts.codec, self._job)
        try:
            findings = self._look()
            problems = self._problems(findings)
            if repair and problems:
                problems = self._repair(session, findings, problems)
        finally:
            session.close()
        return problems

    # -- looking ---------------------------------------------------------------------------------------------------

    def _look(self) -> _Findings:
        parts, findings = self._parts, _Findings()
        doomed = parts.doom.packs()
        parts.index.refresh()
        known = parts.index.packs()
        stored = {pack: blob.size for blob in parts.blobs.list(PACKS) if (pack := pack_of_key(blob.key))}
        for pack in sorted((stored.keys() | known.keys()) - doomed):
            self._check()
            if pack not in stored:
                findings.bad[pack] = self._examiner.examine(pack)
                continue
            table = stored_table(parts.blobs, parts.codec, pack, stored[pack])
            if table is None or self._read_data:
                examined = self._examiner.examine(pack)
                if examined.messages:
                    findings.bad[pack] = examined
            if table is not None and pack not in known:
                findings.unindexed.append(table)
        findings.absent = self._absent(findings)
        return findings

    def _absent(self, findings: _Findings) -> set[ChunkName]:
        """Return the names that are lost with the bad packs: no other copy is indexed."""
        lost: set[ChunkName] = set()
        for pack, examined in findings.bad.items():
            others = findings.bad.keys() - {pack}
            for name in examined.lost:
                places = [place for place in self._parts.index.places(name) if place.pack != pack]
                sound = any(
                    place.pack not in others or name not in findings.bad[place.pack].lost for place in places
                )
                if not sound:
                    lost.add(name)
        return lost

    def _problems(self, findings: _Findings) -> list[Problem]:
        hurt, missing = self._hurt(findings.absent)
        problems = [
            Problem(f"{key} is damaged: {message}")
            for key, message in sorted(self._parts.index.damaged.items())
        ]
        problems += [
            Problem("; ".join(examined.messages), tuple(sorted(_of(hurt, examined.lost & findings.absent))))
            for examined in findings.bad.values()
        ]
        known = {name for table in findings.unindexed for name, _ in table.entries()}
        if missing:
            names = tuple(sorted(_of(hurt, missing)))
            where = "packs have them" if missing <= known else "not all of them are in any pack"
            problems.append(Problem(f"{len(missing)} chunks are not in the index; {where}", names))
        problems += [Problem(message, (name,)) for name, message in hurt.unreadable.items()]
        findings.absent |= missing - known
        return problems

    def _hurt(self, absent: set[ChunkName]) -> tuple[_Hurt, set[ChunkName]]:
        """Walk all manifests: who needs an absent name, and which names nobody knows at all."""
        hurt, missing = _Hurt(), set[ChunkName]()
        walked: dict[ChunkName, frozenset[ChunkName]] = {}
        for name in self._parts.manifest_names():
            self._check()
            try:
                manifest = self._parts.manifest(name)
            except Damaged as error:
                hurt.unreadable[name] = error.message
                continue
            for _, leaf in manifest.each():
                if leaf not in walked:
                    walked[leaf] = self._suspects(leaf, absent, missing)
                for suspect in walked[leaf]:
                    hurt.needs.setdefault(suspect, set()).add(name)
        return hurt, missing

    def _suspects(
        self, leaf: ChunkName, absent: set[ChunkName], missing: set[ChunkName]
    ) -> frozenset[ChunkName]:
        try:
            names = [leaf, *leaf_names(self._parts.fetcher.item(leaf))]
        except Damaged:
            names = [leaf]
            if leaf not in absent:
                missing.add(leaf)
        missing.update(name for name in names if self._parts.index.find(name) is None)
        return frozenset(name for name in names if name in absent or name in missing)

    # -- repairing -------------------------------------------------------------------------------------------------

    def _repair(self, session: Session, findings: _Findings, problems: list[Problem]) -> list[Problem]:
        parts = self._parts
        if findings.unindexed:
            parts.index.store(findings.unindexed, fence=session.check)
        for key in list(parts.index.damaged):
            parts.index.remove(key)
        REINDEXED()
        if findings.bad:
            self._salvage(session, findings)
        absent = {name for name in findings.absent if parts.index.find(name) is None}
        needed = self._hurt(absent)[0]
        lost = {name for name in absent if name in needed.needs}
        if lost - parts.lost():
            parts.store_lost(lost)
        return [
            Problem(
                problem.message, problem.manifests, repaired=not (set(problem.manifests) & needed.names())
            )
            for problem in problems
        ]

    def _salvage(self, session: Session, findings: _Findings) -> None:
        parts, bad = self._parts, set(findings.bad)
        deposit = Deposit(parts.blobs, parts.codec, parts.index, session, parts.doom.packs() | bad)
        copier = Copier(parts, deposit)
        for run in list(parts.index.runs.values()):
            for name, place in run.entries() if any(pack in bad for pack, _ in run.packs) else ():
                if place.pack in bad and name not in findings.bad[place.pack].lost:
                    copier.copy(name)
        copier.finish()
        SALVAGED()
        verdict = parts.doom.condemn(bad)
        present = {each.nonce: each.job for each in sessions(parts.blobs, parts.codec)}
        present.pop(session.nonce, None)
        parts.doom.wait_for(verdict, present, ())
        parts.index.drop(bad, fence=session.check)


class _Hurt:
    """Which manifests need which suspect names, and which manifests cannot be read at all."""

    def __init__(self) -> None:
        self.needs: dict[ChunkName, set[str]] = {}
        self.unreadable: dict[str, str] = {}

    def names(self) -> set[str]:
        """Return every manifest that is hurt."""
        return {name for names in self.needs.values() for name in names} | set(self.unreadable)


def _of(hurt: _Hurt, names: set[ChunkName] | frozenset[ChunkName]) -> set[str]:
    return {manifest for name in names for manifest in hurt.needs.get(name, ())}
