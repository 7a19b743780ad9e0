"""What all steps of the local provider share: how a step begins, and under which claims it makes things."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from csbsctl.provider import Marker, Step
from csbsctl_local.cloud import Cloud
from csbsctl_local.settings import LocalSettings
from csbsctl_local.shelf import Shelf


@dataclass(frozen=True, slots=True)
class Site:
    """One cloud and the shelf for its backups, as a step needs them; ``name`` is the provider's in the configuration."""

    name: str
    cloud: Cloud
    shelf: Shelf
    settings: LocalSettings

    def begin(self, name: str, step: Step, server_id: str | None = None) -> None:
        """Begin a step that changes something: meet its faults, hold its fence against the cloud's, check the lease."""
        server_id = server_id or step.marker.server
        names = [
            row["name"]
            for row in self.cloud.database.rows("SELECT name FROM servers WHERE id = ?", (server_id,))
        ]
        self.cloud.faults.meet(name, server_id, *names)
        # Leases are counted by the provider's name: a cloud that got another name is not held to the old one's.
        self.cloud.faults.fence(f"{step.marker.vault}/{self.name}", server_id, step.marker.fence)
        step.check()


def claim(what: str, marker: Marker, *more: str) -> str:
    """Return the text that is the same whenever the same step of the same job makes the same thing."""
    return json.dumps([what, marker.vault, marker.job, marker.server, marker.backup, *more])


def marker_document(marker: Marker) -> dict[str, Any]:
    """Return a marker as JSON."""
    return asdict(marker)


def read_marker(document: dict[str, Any]) -> Marker:
    """Return the marker that a document is."""
    return Marker(**document)
