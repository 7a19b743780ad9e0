"""``vault.json``: what a vault is, for whoever finds it. The only document that is plain JSON on purpose."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from csbsctl.clock import format_instant, parse_instant
from csbsctl.vault.documents import damaged, newer

KEY = "vault.json"
FORMAT = 1
"""The newest vault format this code makes and opens."""


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What racing writers against the store found."""

    races: int
    writers: int
    several_winners: int
    at: datetime

    @property
    def atomic(self) -> bool:
        """Whether create-if-absent held in every race."""
        return self.races > 0 and self.several_winners == 0


@dataclass(frozen=True, slots=True)
class Encryption:
    """How a vault is encrypted; ``control`` says that control document, catalogue, jobs and audit are, too."""

    algorithm: str
    control: bool


@dataclass(frozen=True, slots=True)
class VaultDescription:
    """Everything ``vault.json`` says."""

    id: str
    created_at: datetime
    created_by: str
    probe: ProbeResult
    coordination: str | None
    encryption: Encryption | None

    def encode(self) -> bytes:
        """Return the text of the file."""
        probe = {**asdict(self.probe), "at": format_instant(self.probe.at)}
        text = {
            "format": FORMAT,
            "id": self.id,
            "created_at": format_instant(self.created_at),
            "created_by": self.created_by,
            "probe": probe,
            "coordination": self.coordination,
            "encryption": asdict(self.encryption) if self.encryption else None,
        }
        return json.dumps(text, indent=2).encode() + b"\n"

    @classmethod
    def decode(cls, stored: bytes) -> VaultDescription:
        """Read the file.

        Raises:
            UnsupportedFormat: the vault was made by a newer csbsctl.
            Damaged: it is not what csbsctl writes.
        """
        try:
            text: dict[str, Any] = json.loads(stored)
            if text["format"] != FORMAT:
                raise newer(KEY, text["format"])
            encryption, probe = text["encryption"], text["probe"]
            return cls(
                id=text["id"],
                created_at=parse_instant(text["created_at"]),
                created_by=text["created_by"],
                probe=ProbeResult(
                    probe["races"], probe["writers"], probe["several_winners"], parse_instant(probe["at"])
                ),
                coordination=text["coordination"],
                encryption=Encryption(encryption["algorithm"], encryption["control"]) if encryption else None,
            )
        except (ValueError, KeyError, TypeError) as error:
            raise damaged(KEY, f"it does not describe a vault ({error})") from error
