"""Four processes on one vault, again and again: kills, stops, faults, garbage collection beside everything else.

What is done is drawn from a seed, and an oracle knows what every backup must hold. After each night everything is let
settle, and then everything must be true.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from csbsctl.cli.session import Options, Session
from csbsctl.clock import format_instant
from csbsctl.model.backup import Backup, BackupState
from csbsctl.protection.unfinished import is_resumable
from csbsctl.vault.check import check
from csbsctl_local.repository.marks import Marks

CONFIGURATION = """\
version: 1
stack: shop
vault: {VAULT}
providers:
  default: {type: local, path: ./cloud}
policies:
  gold:
    schedule: {at: ["02:00"]}
    retention: {count: 3}
bindings:
  web: {policy: gold, match: {name: "web-*"}}
"""
FIRST_NIGHT = datetime(2026, 11, 1, 2, tzinfo=UTC)
WEB = ("web-0", "web-1", "web-2")
AT_ONCE = 4
SECONDS = float(os.environ.get("CSBSCTL_SOAK_SECONDS", "600"))
"""How long `make soak` lets each kind of store be worked on."""
FAULTS = (
    *(
        "store unavailable",
        "snapshot unavailable",
        "store refused",
        "delete unavailable",
        "collect unavailable",
    ),
    *("restore unavailable", "swap unavailable", "release unavailable", "image refused"),
)
Digests = tuple[str, ...]


@dataclass
class Running:
    """A command under way."""

    process: int
    words: tuple[str, ...]
    output: Path
    stopped_until: float = 0.0


class Soak:
    """The driver and its oracle."""

    def __init__(self, folder: Path, starter: Any, vault: str, seed: int, misbehaving: Any = None) -> None:
        self.folder, self.starter, self.misbehaving = folder, starter, misbehaving
        self.chance = random.Random(seed)
        self.did: Counter[str] = Counter()
        self.said: list[str] = []
        """What the runs at the end of the night said: the first thing to read when something is left."""
        self.night = 0
        self.at = FIRST_NIGHT - timedelta(hours=6)
        self.by_slot: dict[tuple[str, datetime], Digests] = {}
        self.lab: set[Digests] = set()
        self.serial = 0
        (folder / "vault.key").write_bytes(b"a key of some thirty-two bytes..")
        (folder / "csbs.yaml").write_text(CONFIGURATION.replace("{VAULT}", vault))
        for name in (*WEB, "lab"):
            self.do("sim", "server", "create", name, "--disk", "1M", "--disk", "512K")
        self.do("apply", "--yes")

    # -- commands --------------------------------------------------------------------------------------------------

    def start(self, *words: str, hurting: bool = False) -> Running:
        self.serial += 1
        output = self.folder / f"output-{self.serial}"
        shared = ["-C", str(self.folder), "--at", format_instant(self.at)]
        fails = (self.chance.randrange(1 << 30), 0.01, str(self.folder / "failures")) if hurting else None
        return Running(self.starter.start([*shared, *words], output, hurting=fails), words, output)

    def end(self, running: Running, code: int, *allowed: int) -> str:
        said = running.output.read_text() if running.output.exists() else ""  # killed before its first breath
        running.output.unlink(missing_ok=True)
        assert "nobody foresaw" not in said, (running.words, said)
        assert "internal error" not in said, (running.words, said)
        assert code in allowed, (running.words, code, said)
        return said

    def do(self, *words: str, allowed: tuple[int, ...] = (0,)) -> str:
        running = self.start(*words)
        return self.end(running, self.starter.wait(running.process), *allowed)

    # -- a night ---------------------------------------------------------------------------------------------------

    def pass_a_night(self, seconds: float) -> None:
        slot = FIRST_NIGHT + timedelta(days=self.night)
        self.at = slot - timedelta(hours=1)
        self.write_by_day()
        with Session(Options(chdir=self.folder, at=format_instant(self.at))) as session:
            servers = {server.name: server for server in session.inventory()["default"]}
            for name in WEB:
                self.by_slot[name, slot] = disks(session, servers[name])
            self.lab.add(disks(session, servers["lab"]))
            self.backups = list(session.vault().catalogue.all())
        self.at = slot
        for fault in self.chance.sample(FAULTS, self.chance.randrange(4)):
            step, error = fault.split()
            self.do("sim", "fail", step, "--error", error, "--times", str(self.chance.randint(1, 3)))
            self.did["faults"] += 1
        self.make_trouble(0.02)
        self.let_them_run(seconds)
        self.make_trouble(0.0)
        self.do("sim", "fail", "clear")
        self.at = slot + timedelta(minutes=5)
        self.said = [self.do("run", allowed=(0, 3)), self.do("run")]
        self.settle()
        self.take_up()
        self.hold(slot)
        self.night += 1

    def settle(self) -> None:
        """Where listings lag, garbage goes in several rounds, each a lag after the one before."""
        for _ in range(30 if self.misbehaving else 0):
            with Session(Options(chdir=self.folder, at=format_instant(self.at))) as session:
                blobs = session.vault().blobs
                if not [*blobs.list("litter/"), *blobs.list("data/default/doom/")]:
                    return
            time.sleep(2.2)  # LAG, and a second for times in whole seconds
            self.do("run")

    def take_up(self) -> None:
        """Take the place of a restore that failed midway: its server stays stopped until then, by design."""
        with Session(Options(chdir=self.folder, at=format_instant(self.at))) as session:
            (lab,) = (server for server in session.inventory()["default"] if server.name == "lab")
            jobs = [job for job in session.vault().jobs.list() if job.server == lab.id]
            good = [b for b in session.vault().catalogue.backups("default", lab.id) if b.good]
        if lab.state == "stopped":
            assert any(is_resumable(job) for job in jobs), (
                "lab is stopped, and no restore is to be gone on with"
            )
            self.do("restore", good[-1].id, "--in-place", "--yes")
            self.did["restores taken up"] += 1

    def write_by_day(self) -> None:
        for name in (*WEB, "lab"):
            for disk in range(2):
                size, offset = self.chance.randint(1, 200), self.chance.randint(0, 300)
                self.do(
                    *("sim", "write", f"{name}:{disk}", "--offset", f"{offset}K", "--random", f"{size}K"),
                    *("--seed", str(self.chance.randrange(1 << 30))),
                )

    def make_trouble(self, share: float) -> None:
        if self.misbehaving:
            self.misbehaving.trouble = share

    def let_them_run(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        hurting = not self.misbehaving
        running = [self.start("run", hurting=hurting), self.start("run", hurting=hurting)]
        while running:
            time.sleep(0.02)
            for each in list(running):
                code = self.starter.poll(each.process)
                if code is not None:
                    running.remove(each)
                    self.end(each, code, 0, 1, 3, -signal.SIGKILL)
                elif not each.stopped_until:
                    self.disturb(each)
                elif each.stopped_until < time.monotonic():
                    each.stopped_until = 0.0
                    os.kill(each.process, signal.SIGCONT)
            if len(running) < AT_ONCE and time.monotonic() < until:
                words = self.choose()
                self.did[" ".join(words[:2]) if words[0] != "restore" else f"restore {words[2][:4]}"] += 1
                running.append(self.start(*words, hurting=hurting and self.chance.random() < 0.5))

    def disturb(self, running: Running) -> None:
        lot = self.chance.random()
        if lot < 0.012:
            os.kill(running.process, signal.SIGKILL)
            self.did["kills"] += 1
        elif lot < 0.016:
            os.kill(running.process, signal.SIGSTOP)
            running.stopped_until = time.monotonic() + self.chance.uniform(0.1, 2)
            self.did["stops"] += 1

    def choose(self) -> tuple[str, ...]:
        lab = [b.id for b in self.backups if b.server.name == "lab"]
        good = [b.id for b in self.backups if b.good]
        choices: list[tuple[int, tuple[str, ...]]] = [
            (5, ("run",)),
            (3, ("backup", "create", "lab")),
            (1, ("vault", "check", "--no-race")),
        ]
        if lab:
            choices += [
                (2, ("restore", self.chance.choice(lab), "--in-place", "--yes")),
                (2, ("backup", "delete", self.chance.choice(lab), "--yes")),
                (1, ("image", "create", self.chance.choice(lab))),
            ]
        if good:
            choices += [
                (2, ("backup", "verify", self.chance.choice(good))),
                (2, ("restore", self.chance.choice(good), "--as", f"copy-{self.serial}")),
            ]
        weights, words = zip(*choices, strict=True)
        return self.chance.choices(words, weights)[0]

    # -- the oracle ------------------------------------------------------------------------------------------------

    def hold(self, slot: datetime) -> None:
        with Session(Options(chdir=self.folder, at=format_instant(self.at))) as session:
            vault, provider = session.vault(), session.provider("default")
            repository: Any = provider._shelf.repository  # type: ignore[attr-defined]
            backups = list(vault.catalogue.all())
            left_open = [job.model_dump_json(exclude_defaults=True) for job in vault.jobs.open()]
            assert left_open == [], "\n".join(self.said)
            assert vault.leases.holders() == []
            for name in WEB:
                mine = [b for b in backups if b.server.name == name]
                served = [b for b in mine if b.slot == slot]
                assert len(served) == 1, f"{name} was served {slot} not once: {served}"
                assert len([b for b in mine if b.state is BackupState.AVAILABLE]) <= 3
            states = set(self.by_slot.values()) | self.lab
            for backup in backups:
                assert backup.state in (BackupState.AVAILABLE, BackupState.ERROR), backup
                if backup.state is BackupState.AVAILABLE:
                    self.hold_backup(repository, backup)
                    self.did["restored and compared"] += 1
            for server in session.inventory()["default"]:
                assert disks(session, server) in states, f"{server.name} is torn"
                assert server.state == "active", server.name
            known = {v.ref for b in backups for v in b.volumes}
            left = [
                f"{m.kind} {m.ref}"
                for m in provider.marked(vault.id)
                if m.kind in ("snapshot", "volume") or (m.kind == "backup" and m.ref not in known)
            ]
            assert left == []
            assert repository.check(read_data=True) == []
            marks = Marks(repository._parts, avoid=set(), check=lambda: None)
            assert repository._parts.index.packs().keys() == marks.live.keys(), "garbage outlived the run"
            report = check(vault, race=False)
            assert report.sound, report.findings
            copies = [s.name for s in session.inventory()["default"] if s.name.startswith("copy-")]
            images = [image.id for image in provider.images()]
        for name in copies:
            self.do("sim", "server", "delete", name)
        for image in images:
            self.do("image", "delete", image, "--yes")
        old = [b.id for b in backups if b.server.name == "lab"][:-4]
        for backup_id in old:
            self.do("backup", "delete", backup_id, "--yes")

    def hold_backup(self, repository: Any, backup: Backup) -> None:
        target = self.folder / "restored"
        held = []
        for volume in sorted(backup.volumes, key=lambda volume: volume.position):
            with target.open("w+b") as file:
                repository.restore(volume.ref, file.fileno())
                held.append(hashlib.file_digest(file, "sha256").hexdigest())
        if backup.server.name == "lab":
            assert tuple(held) in self.lab, f"{backup.name} of lab holds what never was"
        else:
            assert backup.slot
            assert tuple(held) == self.by_slot[backup.server.name, backup.slot], backup


def disks(session: Session, server: Any) -> Digests:
    cloud: Any = session.provider("default")
    found = []
    for volume in server.volumes:
        with cloud.cloud.disk(volume.id) as disk:
            found.append(hashlib.sha256(disk.read(0, volume.size)).hexdigest())
    return tuple(found)


def soak(driver: Soak, seconds: float) -> None:
    """Pass nights until the time is over, and tell what was done."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        driver.pass_a_night(4)
    failures = driver.folder / "failures"
    spoilt = {
        "requests spoilt": driver.misbehaving.injected if driver.misbehaving else 0,
        "objects listed late": driver.misbehaving.lagging if driver.misbehaving else 0,
        "calls of the file system failed": failures.stat().st_size if failures.exists() else 0,
    }
    print(json.dumps({"nights": driver.night, **spoilt, **driver.did}))  # noqa: T201 - the figures
    assert driver.did["kills"], "nobody was killed, so nothing was tried"


LOCAL = "{url: ./vault, encryption: {key_file: ./vault.key, control: true}}"


def in_bucket(endpoint: str) -> str:
    return f"{{url: 's3://vault/shop', endpoint_url: '{endpoint}', listing_lag: 1s, encryption: {{key_file: ./vault.key}}}}"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_short_soak_in_a_folder(tmp_path: Path, starter: Any):
    soak(Soak(tmp_path, starter, LOCAL, seed=20261123), 35)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_short_soak_in_a_bucket_that_misbehaves(tmp_path: Path, starter: Any, bucket: Any):
    endpoint, misbehaving = bucket
    soak(Soak(tmp_path, starter, in_bucket(endpoint), seed=20261123, misbehaving=misbehaving), 45)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_ten_minutes_in_a_folder(tmp_path: Path, starter: Any):
    soak(Soak(tmp_path, starter, LOCAL, int(os.environ.get("CSBSCTL_SOAK_SEED", "1"))), SECONDS)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_ten_minutes_in_a_bucket_that_misbehaves(tmp_path: Path, starter: Any, bucket: Any):
    endpoint, misbehaving = bucket
    seed = int(os.environ.get("CSBSCTL_SOAK_SEED", "1"))
    soak(Soak(tmp_path, starter, in_bucket(endpoint), seed, misbehaving), SECONDS)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_ten_minutes_in_a_real_bucket_that_misbehaves(tmp_path: Path, starter: Any, real_bucket: Any):
    endpoint, misbehaving = real_bucket
    seed = int(os.environ.get("CSBSCTL_SOAK_SEED", "1"))
    soak(Soak(tmp_path, starter, in_bucket(endpoint), seed, misbehaving), SECONDS)
