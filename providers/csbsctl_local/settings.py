"""What a ``type: local`` provider takes in the configuration."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from csbsctl.model.base import Model
from csbsctl.units import parse_size

Size = Annotated[int, BeforeValidator(parse_size), Field(ge=0)]


class QuotaSettings(Model):
    """What the simulated cloud allows; nothing is limited that is not named."""

    backups: Annotated[int, Field(ge=0)] | None = None
    """How many backups may exist."""
    size: Size | None = None
    """How many bytes of disks they may be of, such as ``10G``."""


class LocalSettings(Model):
    """Settings of the simulated cloud."""

    path: str = "./cloud"
    """The cloud's folder, from the folder of the configuration; it need not exist."""
    reflink: Literal["auto", "never"] = "auto"
    """Whether snapshots share blocks where the file system can, or always copy before write."""
    parallel: Annotated[int, Field(ge=1, le=64)] = 2
    """How many servers are worked on at once."""
    threads: Annotated[int, Field(ge=1, le=64)] = 2
    """How many threads compress or restore one disk."""
    quota: QuotaSettings | None = None
