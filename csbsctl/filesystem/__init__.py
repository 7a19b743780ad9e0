"""Reading files out of the raw bytes of a disk: partition tables, and file systems as they lie there.

Everything here is read-only and trusts nothing: a disk may come from a crash, or from somebody who wants harm. Wrong
bytes end in Damaged, what nobody wrote a reader for in Unsupported. Knows nothing of backups, clouds or folders.
"""

from csbsctl.filesystem.blocks import BlockSource
from csbsctl.filesystem.identify import Place, find_places
from csbsctl.filesystem.paths import Found, match, printable, walk
from csbsctl.filesystem.tree import FileSystem, Kind, Node

__all__ = [
    "BlockSource",
    "FileSystem",
    "Found",
    "Kind",
    "Node",
    "Place",
    "find_places",
    "match",
    "printable",
    "walk",
]
