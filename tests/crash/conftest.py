"""A yard to crash things in: a shop with an encrypted vault and some history, copied for every crash."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from csbsctl.cli.session import Options, Session
from csbsctl.model.backup import BackupState
from csbsctl.vault.check import check
from csbsctl_local.repository.marks import Marks

COMMAND = Path(__file__).with_name("command.py")
CONFIGURATION = """\
version: 1
stack: shop
vault:
  url: ./vault
  encryption: {key_file: ./vault.key, control: true}
providers:
  default: {type: local, path: ./cloud}
policies:
  gold:
    schedule: {at: ["02:00"]}
    retention: {count: KEEP}
bindings:
  web: {policy: gold, servers: [web-01]}
"""
NIGHT = "2026-11-0{}T02:00:00Z"
Digests = tuple[str, ...]


PATIENCE = 100.0
"""Seconds that a command may take, stopped for a while or on a busy machine; then it hangs."""


@dataclass
class Started:
    """A command that was started: what it is, where it writes, when it has to have ended."""

    words: list[str]
    output: Path
    until: float


class Starter:
    """The process that commands are forked from."""

    def __init__(self) -> None:
        self._running: dict[int, Started] = {}
        environ = {**os.environ, "NO_COLOR": "1"}
        self._process = subprocess.Popen(
            [sys.executable, COMMAND], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ
        )

    def start(
        self,
        words: list[str],
        output: Path,
        fault: str | None = None,
        passage: int = 1,
        *,
        hasty: bool = False,
        hurting: tuple[int, float, str] | None = None,
    ) -> int:
        """Start a command and return its process id; ``hurting`` (seed, share, log) lets the vault's folder fail."""
        request = {"words": words, "output": str(output), "fault": fault, "passage": passage}
        process = int(self._ask({**request, "hasty": hasty, "hurting": hurting}))
        self._running[process] = Started(words, output, time.monotonic() + PATIENCE)
        return process

    def wait(self, process: int) -> int:
        """Return how a command ended: its exit code, or the negative of the signal that ended it."""
        while (code := self.poll(process)) is None:
            time.sleep(0.002)
        return code

    def poll(self, process: int) -> int | None:
        """Return how a command ended, None while it runs. Fails, and says where it is, when it does not end."""
        answer: int | None = self._ask({"poll": process})
        if answer is not None:
            del self._running[process]
        elif time.monotonic() > self._running[process].until:
            self._give_up(process)
        return answer

    def close(self) -> None:
        """End, with all that was started and runs or is stopped."""
        for process in self._running:
            os.kill(process, signal.SIGKILL)
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe
            pipe.close()

    def _give_up(self, process: int) -> None:
        os.kill(process, signal.SIGUSR1)
        time.sleep(1)
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        started = self._running[process]
        said = started.output.read_text() if started.output.exists() else ""
        pytest.fail(f"{started.words} did not end (state {state}):\n{said}")

    def _ask(self, request: dict[str, Any]) -> Any:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


@dataclass
class Ended:
    """How a command ended: its exit code (negative: by that signal) and what it said."""

    code: int
    said: str


@dataclass
class Yard:
    """One copy of the shop, and what its backups must hold."""

    folder: Path
    starter: Starter
    at: str = NIGHT.format(3)
    expected: dict[str, Digests] = field(default_factory=dict)
    """Backup id -> the digests of its disks when it was taken."""
    states: set[Digests] = field(default_factory=set)
    """What the server's disks may be as a whole: every state that they were ever in."""

    def start(self, *words: str, fault: str | None = None, passage: int = 1, output: str = "output") -> int:
        """Start a command in a process of its own and return its process id."""
        shared = ["-C", str(self.folder), "--at", self.at]
        return self.starter.start([*shared, *words], self.folder / output, fault, passage)

    def start_hasty(self) -> int:
        """Start a runner that believes others dead after half a second of silence."""
        return self.starter.start([str(self.folder), self.at], self.folder / "output", hasty=True)

    def ended(self, process: int) -> Ended:
        """Wait for a command."""
        return Ended(self.starter.wait(process), (self.folder / "output").read_text())

    def __call__(self, *words: str, expect: int | None = 0) -> str:
        """Run a command to its end, and return what it said."""
        ended = self.ended(self.start(*words))
        assert expect is None or ended.code == expect, f"{words}: {ended.code}\n{ended.said}"
        assert "Traceback" not in ended.said, ended.said
        return ended.said

    def dies(self, *words: str, fault: str, passage: int = 1) -> bool:
        """Run a command that is to die at a boundary; return whether it came by."""
        ended = self.ended(self.start(*words, fault=fault, passage=passage))
        assert ended.code in (0, -signal.SIGKILL), f"{words}: {ended.code}\n{ended.said}"
        return ended.code == -signal.SIGKILL

    def copy(self, to: Path) -> Yard:
        """Return a copy of everything."""
        shutil.copytree(self.folder, to)
        return Yard(to, self.starter, self.at, dict(self.expected), set(self.states))

    @contextmanager
    def session(self) -> Iterator[Session]:
        """Look at the shop from this process."""
        with Session(Options(chdir=self.folder, at=self.at)) as opened:
            yield opened

    def digests(self, server: str = "web-01") -> Digests:
        """Return the digests of a server's disks as they are now."""
        with self.session() as session:
            return _disks(session, session.find_server(server))

    def note(self) -> None:
        """Note what the newest backups hold: what is on the disks now."""
        now = self.digests()
        self.states.add(now)
        with self.session() as session:
            for backup in session.vault().catalogue.all():
                self.expected.setdefault(backup.id, now)

    def next_night(self) -> None:
        """Let every command from now on think it is a night later."""
        self.at = NIGHT.format(int(self.at[9]) + 1)

    # -- what must hold --------------------------------------------------------------------------------------------

    def hold_invariants(self) -> None:
        """Check everything that must hold when the dust has settled."""
        with self.session() as session:
            vault, provider = session.vault(), session.provider("default")
            self._hold_backups(session)
            assert vault.jobs.open() == []
            assert vault.leases.holders() == []
            assert vault.audit.verify() == []
            report = check(vault, race=False)
            assert not report.findings, report.findings
            known = {v.ref for b in vault.catalogue.all() for v in b.volumes}
            left = [
                f"{m.kind} {m.ref}"
                for m in provider.marked(vault.id)
                if m.kind in ("snapshot", "volume") or (m.kind == "backup" and m.ref not in known)
            ]
            assert left == []
            for server in session.inventory()["default"]:
                assert _disks(session, server) in self.states, f"{server.name} is in no state it ever was in"
                assert server.state == "active"
            self._hold_repository(provider)
            self._hold_files(provider)

    def hold_what_is_good(self) -> None:
        """Check that after a repair everything that is called good is."""
        self("backup", "verify", "--all", expect=None)
        with self.session() as session:
            vault = session.vault()
            for backup in vault.catalogue.all():
                if backup.good:
                    held = self._restored(session, backup)
                    assert held in ({self.expected[backup.id]} if backup.id in self.expected else self.states)
            assert check(vault, race=False).findings == ()
            assert vault.jobs.open() == []
            assert vault.leases.holders() == []

    def _hold_backups(self, session: Session) -> None:
        """Every backup that is offered restores to the right bytes."""
        for backup in session.vault().catalogue.all():
            assert backup.state in (BackupState.AVAILABLE, BackupState.ERROR), (backup.name, backup.state)
            if backup.state is BackupState.AVAILABLE:
                held = self._restored(session, backup)
                assert held in ({self.expected[backup.id]} if backup.id in self.expected else self.states)

    def _restored(self, session: Session, backup: Any) -> Digests:
        provider: Any = session.provider("default")
        digests = []
        for volume in sorted(backup.volumes, key=lambda volume: volume.position):
            target = self.folder / "restored"
            with target.open("w+b") as file:
                provider._shelf.repository.restore(volume.ref, file.fileno())
                digests.append(hashlib.file_digest(file, "sha256").hexdigest())
        return tuple(digests)

    def _hold_repository(self, provider: Any) -> None:
        """The repository is whole, and no pack is there that nothing needs."""
        repository = provider._shelf.repository
        assert repository.check(read_data=True) == []
        marks = Marks(repository._parts, avoid=set(), check=lambda: None)
        dead = repository._parts.index.packs().keys() - marks.live.keys()
        assert not dead, f"{len(dead)} packs that nothing needs"
        stored = {blob.key for blob in repository._parts.blobs.list("")}
        assert not [key for key in stored if key.startswith(("collector/", "doom/"))]
        with self.session() as session:
            assert list(session.vault().blobs.list("litter/")) == []

    def _hold_files(self, provider: Any) -> None:
        """Every file of the cloud belongs to a disk that it knows."""
        volumes = {volume.id for server in provider.servers() for volume in server.volumes}
        files = {path.stem for path in (self.folder / "cloud" / "volumes").rglob("*") if path.is_file()}
        assert len(files) <= len(volumes) + len(list(provider.images())) * 2, files - volumes


def _disks(session: Session, server: Any) -> Digests:
    cloud: Any = session.provider("default")
    digests = []
    for volume in server.volumes:
        with cloud.cloud.disk(volume.id) as disk:
            digests.append(hashlib.sha256(disk.read(0, volume.size)).hexdigest())
    return tuple(digests)


def write_configuration(folder: Path, *, keep: int = 2) -> None:
    """Write the shop's configuration and its key."""
    (folder / "csbs.yaml").write_text(CONFIGURATION.replace("KEEP", str(keep)))
    (folder / "vault.key").write_bytes(b"a key of some thirty-two bytes..")


@pytest.fixture(scope="session")
def starter() -> Iterator[Starter]:
    started = Starter()
    yield started
    started.close()


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory, starter: Starter) -> Yard:
    """Return a shop with two automatic backups and two by hand, one of them with an image; the third night begins."""
    for name in ("CI", "CSBSCTL_FAULT", "CSBSCTL_DEBUG", "GIT_DIR"):
        os.environ.pop(name, None)
    folder = tmp_path_factory.mktemp("yard")
    write_configuration(folder)
    yard = Yard(folder, starter)
    yard.at = "2026-10-31T12:00:00Z"
    yard("sim", "server", "create", "web-01", "--disk", "1M", "--disk", "512K")
    yard("apply", "--yes")
    for number, step in enumerate(
        (
            ("run",),
            ("run",),
            ("backup", "create", "web-01", "--name", "first"),
            ("backup", "create", "web-01", "--name", "second"),
        )
    ):
        yard.at = NIGHT.format(min(number + 1, 2))
        for disk in (0, 1):
            yard(
                "sim",
                "write",
                f"web-01:{disk}",
                "--offset",
                "64K",
                "--random",
                "200K",
                "--seed",
                str(number * 2 + disk + 1),
            )
        yard(*step)
        yard.note()
    yard("image", "create", "second@web-01", "--name", "golden")
    yard("vault", "key", "add", "spare", "--key-file", str(folder / "csbs.yaml"))
    yard("sim", "write", "web-01:0", "--offset", "8K", "--random", "70K", "--seed", "99")
    yard.states.add(yard.digests())
    yard.at = NIGHT.format(3)
    return yard


@pytest.fixture
def yard(built: Yard, tmp_path: Path) -> Yard:
    """Return a copy of the shop."""
    return built.copy(tmp_path / "shop")
