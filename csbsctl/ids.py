"""Names for new things: the one place that draws random identifiers."""

from __future__ import annotations

import secrets
import uuid


def new_id() -> str:
    """Return a new random UUID as text."""
    return str(uuid.uuid4())  # noqa: TID251 - the one place that draws ids


def new_suffix() -> str:
    """Return four random hex digits: the ``xxxx`` of ``autobk_xxxx`` (csbs.md 1.2)."""
    return secrets.token_hex(2)
