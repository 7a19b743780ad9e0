"""How to reach a store, beyond its URL."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """Options of ``vault:`` in the configuration; all but ``coordination`` are for S3 only.

    ``listing_lag`` is for how many seconds listings of the bucket may miss what was just written.
    ``coordination`` is for a store whose create-if-absent does not hold: a tooz URL, or ``single-writer``.
    """

    endpoint_url: str | None = None
    region: str | None = None
    profile: str | None = None
    path_style: bool | None = None
    ca_bundle: str | None = None
    verify_tls: bool = True
    coordination: str | None = None
    listing_lag: float = 60.0
