"""The register of bootable images; what an image consists of is its maker's business."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from sqlite3 import Row
from typing import Any

from csbsctl.clock import Clock, format_instant, parse_instant
from csbsctl.errors import ResourceNotFound
from csbsctl.ids import new_id
from csbsctl_local.cloud.database import Database

QUEUED, AVAILABLE = "queued", "available"


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One image: ``content`` is for whoever made it; it can be used once its state is ``available``."""

    id: str
    name: str
    backup: str | None
    size: int
    created_at: datetime
    state: str
    content: dict[str, Any]
    marker: dict[str, Any]

    def part(self, number: int) -> str:
        """Return a name for the data of one of its disks that no other image uses."""
        return f"image.{self.id}.{number}"

    def parts(self) -> list[str]:
        """Return the names for the data of all its disks."""
        return [self.part(number) for number in range(len(self.content["disks"]))]


class Images:
    """The images of one cloud."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock

    def register(
        self,
        claim: str,
        marker: dict[str, Any],
        *,
        name: str,
        backup: str | None,
        size: int,
        content: dict[str, Any],
    ) -> ImageRecord:
        """Enter an image in state ``queued``, or return the one that the same claim entered before."""
        with self._database.change() as change:
            change.execute(
                "INSERT OR IGNORE INTO images VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(new_id(), name, backup, size, format_instant(self._clock.now()), QUEUED),
                    *(json.dumps(content), json.dumps(marker), claim),
                ),
            )
            return _record(change.execute("SELECT * FROM images WHERE claim = ?", (claim,)).fetchone())

    def complete(self, image_id: str) -> None:
        """Say that an image can be used."""
        with self._database.change() as change:
            change.execute("UPDATE images SET state = ? WHERE id = ?", (AVAILABLE, image_id))

    def list(self) -> list[ImageRecord]:
        """Return all images, oldest first."""
        return [_record(row) for row in self._database.rows("SELECT * FROM images ORDER BY created_at, id")]

    def find(self, wanted: str) -> ImageRecord:
        """Return the image with an ID or a unique name. Raises ResourceNotFound."""
        rows = self._database.rows("SELECT * FROM images WHERE id = ?1 OR name = ?1", (wanted,))
        if len(rows) != 1:
            problem = f"{len(rows)} images are named {wanted!r}" if rows else f"there is no image {wanted!r}"
            raise ResourceNotFound(problem, hint="see: csbsctl image list")
        return _record(rows[0])

    def get(self, image_id: str) -> ImageRecord | None:
        """Return an image, or None."""
        row = self._database.row("SELECT * FROM images WHERE id = ?", (image_id,))
        return _record(row) if row else None

    def forget(self, image_id: str) -> None:
        """Remove an image; already gone is fine."""
        with self._database.change() as change:
            change.execute("DELETE FROM images WHERE id = ?", (image_id,))


def _record(row: Row) -> ImageRecord:
    return ImageRecord(
        id=row["id"],
        name=row["name"],
        backup=row["backup"],
        size=row["size"],
        created_at=parse_instant(row["created_at"]),
        state=row["state"],
        content=json.loads(row["content"]),
        marker=json.loads(row["marker"]),
    )
