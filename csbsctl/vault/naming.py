"""Turns the names of servers into one segment of a key, and back. Providers and users choose those names."""

from __future__ import annotations

from urllib.parse import quote, unquote

SEPARATOR = "~"
_SAFE = "-_."


def server_segment(provider: str, server: str) -> str:
    """Return ``<provider>~<server id>`` with everything odd percent-encoded, so that neither can break out."""
    return f"{_encode(provider)}{SEPARATOR}{_encode(server)}"


def split_segment(segment: str) -> tuple[str, str]:
    """Return provider and server id of a segment."""
    provider, _, server = segment.partition(SEPARATOR)
    return unquote(provider), unquote(server)


def _encode(text: str) -> str:
    encoded = quote(text, safe=_SAFE).replace(SEPARATOR, "%7E")
    return "%2E" + encoded[1:] if encoded.startswith(".") else encoded


def writer_segment(actor: str) -> str:
    """Return the segment of an actor (``user@host``) who writes to the audit trail."""
    return _encode(actor.replace("@", "-at-")) or "nobody"
