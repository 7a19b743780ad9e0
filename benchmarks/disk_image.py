"""A disk image like those that servers have: files, a database, noise, written zeros and holes; and what a day changes.

Everything is drawn from a seed. Shares of the size follow what was measured on real images: a little over half holds
data, a tenth of it does not compress.
"""

from __future__ import annotations

import os
import random
import stat
from collections.abc import Iterator
from pathlib import Path

PAGE = 4096
DATABASE_PAGE = 8192
MIB = 1024 * 1024


class DiskImage:
    """One raw image in a sparse file, and the byte ranges that were changed last."""

    def __init__(self, path: Path, size: int, seed: int = 1) -> None:
        self.path = path
        self.size = size
        self._random = random.Random(seed)
        self._files = self._library()
        self._database = (0, 0)
        self._end = 0
        self.changed: list[tuple[int, int]] = []

    def fill(self) -> None:
        """Write the first state: files 41 %, noise 9 %, written zeros 3 %, a database 3 % of the size; then a hole."""
        with self.path.open("w+b") as file:
            file.truncate(self.size)
            self._end = self._write_files(file, 0, self.size * 41 // 100)
            for share, content in ((9, self._random.randbytes), (3, bytes)):
                file.seek(self._end)
                left = self.size * share // 100
                while left > 0:
                    file.write(content(min(left, MIB)))
                    left -= MIB
                self._end = -(-file.tell() // PAGE) * PAGE
            pages = self.size * 3 // 100 // DATABASE_PAGE
            self._database = (self._end, pages)
            file.seek(self._end)
            for number in range(pages):
                file.write(self._database_page(number))
            self._end = file.tell()

    def live_a_day(self) -> None:
        """Change 2 %: new files past the end, files rewritten in place, and a quarter of the database's pages."""
        self.changed = []
        with self.path.open("r+b") as file:
            start = self._end
            self._end = self._write_files(file, start, self.size * 6 // 1000)
            self.changed.append((start, self._end - start))
            for _ in range(20):
                at = self._random.randrange(self.size * 40 // 100 // PAGE) * PAGE
                self.changed.append((at, self._write_files(file, at, self.size * 2 // 10_000) - at))
            base, pages = self._database
            for number in self._random.sample(range(pages), pages // 4):
                self._overwrite(file, base + number * DATABASE_PAGE, self._database_page(number))

    def scatter(self, count: int) -> None:
        """Rewrite random 4 KiB pages all over the data with noise."""
        self.changed = []
        with self.path.open("r+b") as file:
            for _ in range(count):
                at = self._random.randrange(self._end // PAGE) * PAGE
                self._overwrite(file, at, self._random.randbytes(PAGE))

    def _overwrite(self, file: object, at: int, data: bytes) -> None:
        file.seek(at)
        file.write(data)
        self.changed.append((at, len(data)))

    def _write_files(self, file: object, start: int, wanted: int) -> int:
        at = start
        for path in self._files:
            try:
                data = path.read_bytes()
            except OSError:
                continue
            data = data[: start + wanted - at]
            file.seek(at)
            file.write(data)
            at += -(-len(data) // PAGE) * PAGE
            if at >= start + wanted:
                break
        return at

    def _database_page(self, number: int) -> bytes:
        rows = (
            f"{number:08}|{self._random.getrandbits(64):016x}|customer|{row:04}|active|" for row in range(120)
        )
        return "".join(rows).encode()[:DATABASE_PAGE].ljust(DATABASE_PAGE, b"\0")

    def _library(self) -> Iterator[Path]:
        """Yield files of /usr in a seeded order, hard links once as on a disk; again and again if need be."""
        paths: dict[tuple[int, int], str] = {}
        for folder, _, names in os.walk("/usr"):
            for name in sorted(names):
                status = os.lstat(os.path.join(folder, name))  # noqa: PTH118 - half a million Paths take long
                if stat.S_ISREG(status.st_mode):
                    paths.setdefault((status.st_dev, status.st_ino), os.path.join(folder, name))  # noqa: PTH118
        order = sorted(paths.values())
        while True:
            self._random.shuffle(order)
            yield from map(Path, order)
