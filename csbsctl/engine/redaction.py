"""Values that must never be shown or stored in a plan (variables that are ``sensitive``)."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from csbsctl.model.plan import Change

HIDDEN = "(sensitive value)"


def redact(change: Change, sensitive: Collection[str]) -> Change:
    """Return the change with every sensitive value covered, wherever it stands in a text."""
    if not sensitive:
        return change
    return Change.model_validate(covered(change.model_dump(), sensitive))


def covered(value: Any, sensitive: Collection[str]) -> Any:
    """Return a plain value with the sensitive parts of its texts covered."""
    if isinstance(value, dict):
        return {key: covered(item, sensitive) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(covered(item, sensitive) for item in value)
    text = str(value)
    if not any(secret and secret in text for secret in sensitive):
        return value
    if text in sensitive:
        return HIDDEN
    for secret in sorted(sensitive, key=len, reverse=True):
        if secret and secret in text:
            text = text.replace(secret, HIDDEN)
    return text
