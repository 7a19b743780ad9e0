"""The tools that are compared: how each makes a repository, stores an image, brings it back and verifies.

All encrypt. Each is set up as someone who knows it would for disk images; what is not installed is left out.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from measured import Measured, measure
from places import Folder, Place

PASSWORD = "benchmark"


class Tool:
    """A backup tool at work on one image. ``home`` is a folder for whatever is not in its repository."""

    program = ""
    version = ""

    def __init__(self, home: Path, place: Place, image: Path) -> None:
        self.home = home
        self.place = place
        self.image = image

    def prepare(self) -> None:
        """Make the repository; not measured."""

    def write(self, step: str, changed: list[tuple[int, int]]) -> Measured:
        """Back the image up."""
        raise NotImplementedError

    def restore(self, target: Path) -> Measured:
        """Bring the last state back, into a file or a folder."""
        raise NotImplementedError

    def verify(self) -> Measured:
        """Read and check all data."""
        raise NotImplementedError


class Csbsctl(Tool):
    """The repository of the local provider; ``unchanged`` reads everything, as without a block map."""

    _last: str | None = None

    def _run(self, *words: str) -> Measured:
        script = Path(__file__).with_name("dataplane_csbsctl.py")
        command = [sys.executable, str(script), self.place.url, str(self.home / "cache"), *words]
        return measure(command, self.place.environ)

    def write(self, step: str, changed: list[tuple[int, int]]) -> Measured:
        """See Tool."""
        words = ["write", step, str(self.image)]
        if self._last and step != "unchanged":
            blocks = self.home / "changed.json"
            blocks.write_text(json.dumps(changed))
            words += [self._last, str(blocks)]
        self._last = step
        return self._run(*words)

    def restore(self, target: Path) -> Measured:
        """See Tool. The file is durable when it returns."""
        return self._run("restore", str(self._last), str(target))

    def verify(self) -> Measured:
        """See Tool."""
        return self._run("verify", str(self._last))


class Restic(Tool):
    """restic with its defaults; ``--force`` because a disk that ran has a new mtime."""

    def _environ(self) -> Mapping[str, str]:
        cache = {"RESTIC_PASSWORD": PASSWORD, "RESTIC_CACHE_DIR": str(self.home / "cache")}
        return {**cache, **self.place.environ}

    def _command(self, *words: str) -> list[str]:
        return [self.program, "-q", "-r", self.place.url, *words]

    def _restore(self, target: Path) -> list[str]:
        old = tuple(map(int, self.version.split("."))) < (0, 15)  # holes were written as zeros before
        sparse = [] if old else ["--sparse"]
        return self._command("restore", "latest", *sparse, "--target", str(target))

    def prepare(self) -> None:
        """See Tool."""
        measure(self._command("init"), self._environ())

    def write(self, step: str, changed: list[tuple[int, int]]) -> Measured:
        """See Tool."""
        return measure(
            self._command("backup", "--force", "--host", "bench", str(self.image)), self._environ()
        )

    def restore(self, target: Path) -> Measured:
        """See Tool. The file may still be in memory when it returns."""
        return measure(self._restore(target), self._environ())

    def restore_durably(self, target: Path) -> Measured:
        """Bring the last state back and wait until it is on disk, as csbsctl does."""
        script = 'target=$1; shift; "$@" && find "$target" -type f -exec sync {} +'
        return measure(["sh", "-c", script, "sh", str(target), *self._restore(target)], self._environ())

    def verify(self) -> Measured:
        """See Tool."""
        return measure(self._command("check", "--read-data"), self._environ())


class Borg(Tool):
    """borg at its best on images: fixed chunks, zstd 1; a folder is all it can write to."""

    _last = ""

    def _run(self, *words: str, cwd: Path | None = None) -> Measured:
        environ = {
            "BORG_PASSPHRASE": PASSWORD,
            "BORG_BASE_DIR": str(self.home / "base"),
            "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
        }
        return measure([self.program, *words], environ, cwd=str(cwd) if cwd else None)

    def prepare(self) -> None:
        """See Tool."""
        self._run("init", "-e", "repokey-blake2", self.place.url)

    def write(self, step: str, changed: list[tuple[int, int]]) -> Measured:
        """See Tool."""
        self._last = f"{self.place.url}::{step}-"  # an archive's name must not be the end of another's
        chunks = ["--compression", "zstd,1", "--chunker-params", "fixed,4194304", "--files-cache", "disabled"]
        return self._run("create", *chunks, self._last, str(self.image))

    def restore(self, target: Path) -> Measured:
        """See Tool."""
        target.mkdir(exist_ok=True)
        return self._run("extract", "--sparse", self._last, cwd=target)

    def verify(self) -> Measured:
        """See Tool."""
        return self._run("check", "--verify-data", self.place.url)


class Kopia(Tool):
    """kopia with zstd in place of no compression; ``--force-hash`` because a disk that ran has a new mtime."""

    def _run(self, *words: str) -> Measured:
        environ = {"KOPIA_PASSWORD": PASSWORD, "KOPIA_CHECK_FOR_UPDATES": "false"}
        folders = ["--config-file", str(self.home / "config"), "--log-dir", str(self.home / "logs")]
        return measure([self.program, *folders, *words], environ)

    def prepare(self) -> None:
        """See Tool."""
        cache = ["--cache-directory", str(self.home / "cache")]
        self._run("repository", "create", "filesystem", "--path", self.place.url, *cache)
        self._run("policy", "set", "--global", "--compression", "zstd-fastest")

    def write(self, step: str, changed: list[tuple[int, int]]) -> Measured:
        """See Tool."""
        return self._run("snapshot", "create", "--force-hash", "100", str(self.image))

    def restore(self, target: Path) -> Measured:
        """See Tool."""
        return self._run("restore", "--write-sparse-files", str(self.image), str(target))

    def verify(self) -> Measured:
        """See Tool."""
        return self._run("snapshot", "verify", "--verify-files-percent", "100")


Maker = Callable[[Path, Place, Path], Tool]


def installed(also: list[Path]) -> Iterator[tuple[str, type[Tool]]]:
    """Yield name (with its version) and class of every tool there is; ``also`` are programs outside of PATH."""
    yield "csbsctl", Csbsctl
    for tool, ask in ((Restic, "version"), (Borg, "--version"), (Kopia, "--version")):
        name = tool.__name__.lower()
        found = [program for program in (shutil.which(name), *map(str, also)) if program and name in program]
        for program in dict.fromkeys(found):
            said = subprocess.run([program, ask], capture_output=True, text=True, check=True).stdout
            version = match[0] if (match := re.search(r"\d+\.\d+\.\d+", said)) else "?"
            yield f"{name} {version}", type(name, (tool,), {"program": program, "version": version})
        if not found:
            print(f"{name} is not installed: left out")


def folder_of(home: Path) -> Folder:
    """Return the folder of a tool's repository."""
    return Folder(home / "repository")
