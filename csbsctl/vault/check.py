"""Looks at everything in a vault: every document, its chain, the audit, what crashes left; and mends what it can.

Data of providers is not read here; ``backup verify`` does that.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from csbsctl.blobs import BlobExists, BlobNotFound
from csbsctl.clock import format_instant
from csbsctl.errors import Damaged, NotFound, UnsupportedFormat
from csbsctl.model.job import JobState
from csbsctl.vault import audit, catalogue, journal, leases, probe, runners
from csbsctl.vault.coordination import CoordinatedStore
from csbsctl.vault.description import ProbeResult
from csbsctl.vault.naming import split_segment
from csbsctl.vault.series import EMPTY, Generation, Series
from csbsctl.vault.stores import DirectoryStore, ReadOnlyStore, RetryingStore, Store
from csbsctl.vault.vault import Vault

DAMAGED_FOLDER = "damaged"
"""Where ``--repair`` keeps the bytes it replaces."""

_ABANDONED = timedelta(days=1)


class Severity(enum.StrEnum):
    """How bad a finding is."""

    DAMAGE = "damage"
    LEFTOVER = "leftover"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be: where, what, and whether it was mended."""

    severity: Severity
    key: str
    message: str
    repaired: bool = False


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What a check found; ``documents`` counts generations that were read."""

    findings: tuple[Finding, ...]
    documents: int
    probe: ProbeResult | None

    @property
    def sound(self) -> bool:
        """Whether nothing is damaged, or all of it was mended."""
        return not any(f.severity is Severity.DAMAGE and not f.repaired for f in self.findings)


def check(vault: Vault, *, repair: bool = False, race: bool = True) -> CheckReport:
    """Check a vault; ``repair`` mends, ``race`` races writers against the store again (needs to write)."""
    return _Check(vault, repair=repair).run(race=race)


class _Check:
    def __init__(self, vault: Vault, *, repair: bool) -> None:
        self._vault = vault
        self._store = vault.store
        self._repair = repair
        self._findings: list[Finding] = []
        self._documents = 0

    def run(self, *, race: bool) -> CheckReport:
        result = probe.probe(self._store, self._vault.clock) if race else None
        if result and not result.atomic and not self._vault.coordination:
            self._find(
                Severity.DAMAGE, "vault.json", "the store lets several writers win; set vault.coordination"
            )
        if self._vault.keys:
            self._look_at_keys()
        for series, fallback in self._every_series():
            self._look_at_series(series, fallback)
        self._look_at_catalogue()
        self._look_at_audit()
        self._look_at_jobs()
        self._look_at_leases()
        self._look_at_leftovers()
        return CheckReport(tuple(self._findings), self._documents, result)

    def _every_series(self) -> Iterator[tuple[Series, Callable[[dict[str, Any]], dict[str, Any]]]]:
        """Yield every document that can be mended, and what its last readable content becomes then."""
        codec, plain = self._vault.codec, self._vault.plain_codec
        yield Series(self._store, codec, "control"), dict
        for folder in (catalogue.FOLDER, journal.FOLDER):
            for name in self._store.folders(folder + "/"):
                yield Series(self._store, codec, f"{folder}/{name}"), dict
        for name in self._store.folders(leases.FOLDER + "/"):
            yield Series(self._store, plain, f"{leases.FOLDER}/{name}"), _lost_lease

    def _look_at_series(self, series: Series, fallback: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        numbers = series.numbers()
        good: Generation = EMPTY
        after_damage = False
        for number in numbers:
            try:
                generation = series.at(number)
            except UnsupportedFormat:
                raise
            except Damaged as error:
                after_damage = True
                if number == numbers[-1]:
                    mend = partial(self._mend_head, series, number, good)
                    lost = self._lost_by_mending(series, good) if self._repair else ""
                    self._find(Severity.DAMAGE, series.key(number), error.message + lost, mend)
                else:
                    self._find(
                        Severity.NOTE, series.key(number), f"an old generation is damaged: {error.message}"
                    )
                continue
            self._documents += 1
            if (
                good.number == number - 1
                and good.number
                and not after_damage
                and generation.previous != good.digest
            ):
                self._find(Severity.DAMAGE, series.key(number), "it does not follow the generation before it")
            good, after_damage = replace(generation, body=fallback(generation.body)), False

    def _lost_by_mending(self, series: Series, good: Generation) -> str:
        """Say what going back to the last readable generation loses, and which command brings it back."""
        folder = series.prefix.partition("/")[0]
        if folder == journal.FOLDER and not good.number:
            return "; the job is forgotten: `csbsctl backup rebuild` finds what it had stored"
        brings_back = {
            catalogue.FOLDER: "`csbsctl backup rebuild` adds the backups that this one misses",
            "control": "`csbsctl plan` shows what that lost, `csbsctl apply` brings it back",
            journal.FOLDER: "`csbsctl run` finishes or undoes the job from there",
            leases.FOLDER: "the next runner takes over",
        }
        state = f"generation {good.number}" if good.number else "an empty one"
        return f"; went back to {state}: {brings_back[folder]}"

    def _mend_head(self, series: Series, number: int, good: Generation) -> None:
        """Keep the damaged bytes aside and write the last readable content in their place; a job without any goes."""
        key = series.key(number)
        try:
            self._store.put(f"{DAMAGED_FOLDER}/{key}", self._store.get(key))
        except BlobNotFound:
            return
        if not good.number and series.prefix.startswith(f"{journal.FOLDER}/"):
            series.destroy()
            return
        series.mend(Generation(number, good.body, "", good.digest))

    def _look_at_catalogue(self) -> None:
        for provider, server in self._vault.catalogue.servers():
            try:
                self._vault.catalogue.backups(provider, server)
            except Damaged as error:
                hint = "; `csbsctl backup rebuild` makes it anew from the cloud"
                self._find(Severity.DAMAGE, f"{catalogue.FOLDER}/{provider}~{server}", error.message + hint)

    def _look_at_audit(self) -> None:
        anchors: dict[str, set[str]] = {}
        try:
            for document in self._vault.control.history():
                for writer, digest in document.audit_heads.items():
                    anchors.setdefault(writer, set()).add(digest)
        except Damaged as error:
            self._find(
                Severity.NOTE, "control", f"older anchors of the audit cannot be read: {error.message}"
            )
        for problem in self._vault.audit.verify(anchors=anchors):
            self._find(Severity.DAMAGE, audit.FOLDER, problem)

    def _look_at_jobs(self) -> None:
        known = set()
        open_jobs = {key.rpartition("/")[2] for key in self._store.keys(journal.OPEN + "/")}
        for job_id in self._store.folders(journal.FOLDER + "/"):
            try:
                job = self._vault.jobs.get(job_id)
            except NotFound:  # forgotten this moment, or its runner died before the first word
                continue
            except Damaged as error:
                known.add(job_id)
                self._find(Severity.DAMAGE, f"{journal.FOLDER}/{job_id}", error.message)
                continue
            known.add(job_id)
            if job.state is JobState.RUNNING and job_id not in open_jobs:
                key = f"{journal.OPEN}/{job_id}"
                self._find(
                    Severity.LEFTOVER, key, "a running job is not listed as open", partial(self._add, key)
                )
        for job_id in open_jobs - known:
            key = f"{journal.OPEN}/{job_id}"
            self._sweep(key, "a job was announced and never began")

    def _look_at_leases(self) -> None:
        working = {self._vault.runner.id}
        for segment in self._store.folders(leases.FOLDER + "/"):
            try:
                holder = self._vault.leases.holder(*split_segment(segment))
            except Damaged:  # reported where its document was read
                continue
            if holder:
                working.add(holder.runner)
            if holder and not holder.alive:
                message = f"its runner is gone since {holder.since}; whoever works on {holder.server} next takes over"
                self._find(Severity.NOTE, f"{leases.FOLDER}/{segment}", message)
        for key in self._store.keys(runners.FOLDER + "/"):
            if key.rpartition("/")[2] not in working:
                self._sweep(key, "a runner ended without taking its heartbeat away")

    def _look_at_leftovers(self) -> None:
        for key in [*self._store.keys(probe.FOLDER + "/")]:
            self._sweep(key, "a race was interrupted")
        directory = _directory(self._store)
        for path in directory.abandoned() if directory else ():
            self._find(Severity.LEFTOVER, path, "a write was interrupted", Path(path).unlink)

    def _look_at_keys(self) -> None:
        assert self._vault.keys
        for problem in self._vault.keys.tend(repair=self._repair):
            self._findings.append(Finding(Severity.LEFTOVER, "keys", problem, repaired=self._repair))

    def _sweep(self, key: str, message: str) -> None:
        """Report, and with repair remove, what a crash left, when it is older than a day by the store's time."""
        for blob in self._store.list(key):
            if blob.key == key and blob.modified < self._store.now() - _ABANDONED:
                since = f"{message} (since {format_instant(blob.modified)})"
                self._find(Severity.LEFTOVER, key, since, partial(self._store.delete, key))

    def _add(self, key: str) -> None:
        try:
            self._store.create(key, b"")
        except BlobExists:
            return

    def _find(
        self, severity: Severity, key: str, message: str, mend: Callable[[], None] | None = None
    ) -> None:
        repaired = self._repair and mend is not None
        if repaired and mend is not None:
            mend()
        self._findings.append(Finding(severity, key, message, repaired=repaired))


def _directory(store: Store) -> DirectoryStore | None:
    while isinstance(store, ReadOnlyStore | CoordinatedStore | RetryingStore):
        store = store.inner
    return store if isinstance(store, DirectoryStore) else None


def _lost_lease(body: dict[str, Any]) -> dict[str, Any]:
    """Return a lease whose holder nobody knows: the next taker goes through takeover, with a number never used."""
    return {**body, "number": int(body.get("number", 0)) + 1, "runner": "unknown"}
