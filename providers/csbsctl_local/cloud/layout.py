"""Where the simulated cloud keeps its files; the one place that knows their names.

    cloud.db                       servers, volumes, snapshots, images, faults (SQLite, WAL)
    gate                           flock: whoever waits for a volume's lock holds it, so that busy writers step back
    backings/<id>.raw              the bytes of a disk, sparse
    backings/<id>.fill             one byte per granule of a disk that is still being filled: 0 missing, 1 there
    volumes/<id>.control           flock of the volume's I/O path; 16 mapped bytes: epoch, waiting flag
    volumes/<id>.eras              4 bytes per granule: the era of its last write
    snapshots/<id>/<n>.raw         a frozen disk, by reflink
    snapshots/<id>/<n>.old, .map   a frozen disk, by copy-before-write: old granules, and one byte each: 1 copied
    snapshots/<id>/<n>.fill        the fill map as it was

A file that no row of the database names is rubbish; rows are written before their files, except a snapshot's, whose
files are made inside the transaction that writes its rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

GRANULE = 64 * 1024
"""Bytes of a disk that are tracked, copied and filled together: the repository's chunk."""


def granules(size: int) -> int:
    """Return how many granules a disk of so many bytes has; the last may be short."""
    return -(-size // GRANULE)


@dataclass(frozen=True, slots=True)
class Layout:
    """The names of files in one cloud's folder."""

    folder: Path

    @property
    def database(self) -> Path:
        """Return the path of the database."""
        return self.folder / "cloud.db"

    @property
    def gate(self) -> Path:
        """Return the path of the gate's lock file."""
        return self.folder / "gate"

    @property
    def backings(self) -> Path:
        """Return the folder of disk bytes."""
        return self.folder / "backings"

    @property
    def volumes(self) -> Path:
        """Return the folder of control files."""
        return self.folder / "volumes"

    @property
    def snapshots(self) -> Path:
        """Return the folder of snapshots."""
        return self.folder / "snapshots"

    def backing(self, backing_id: str) -> Path:
        """Return the path of a disk's bytes."""
        return self.backings / f"{backing_id}.raw"

    def fill_map(self, backing_id: str) -> Path:
        """Return the path of a disk's fill map."""
        return self.backings / f"{backing_id}.fill"

    def control(self, volume_id: str) -> Path:
        """Return the path of a volume's control file."""
        return self.volumes / f"{volume_id}.control"

    def eras(self, volume_id: str) -> Path:
        """Return the path of a volume's table of eras."""
        return self.volumes / f"{volume_id}.eras"

    def frozen(self, snapshot_id: str, position: int, suffix: str) -> Path:
        """Return the path of one file (``raw``, ``old``, ``map`` or ``fill``) of a snapshot's disk."""
        return self.snapshots / snapshot_id / f"{position}.{suffix}"

    def create(self) -> None:
        """Make the folders."""
        for folder in (self.backings, self.volumes, self.snapshots):
            folder.mkdir(parents=True, exist_ok=True)
