"""A content-addressed repository of disk images: 64 KiB chunks in packs, in any blob store. ``FORMAT.md`` has the bytes.

It knows nothing of servers: it stores block sources under names and gives them back.
"""

from __future__ import annotations

from .checkup import Problem
from .collect import Collected
from .manifest import Written
from .reader import Reader
from .repository import ManifestInfo, Repository
from .source import BlockSource, FileSource
from .verify import Flaw, Proven

__all__ = [
    "BlockSource",
    "Collected",
    "FileSource",
    "Flaw",
    "ManifestInfo",
    "Problem",
    "Proven",
    "Reader",
    "Repository",
    "Written",
]
