"""The repository as a command, so that it is measured as a process like the others: start-up included.

    python benchmarks/dataplane_csbsctl.py STORE write MANIFEST IMAGE [PARENT CHANGED.json]
    python benchmarks/dataplane_csbsctl.py STORE restore MANIFEST FILE
    python benchmarks/dataplane_csbsctl.py STORE verify MANIFEST

Encryption is on: the vault's own sealer, with keys that are known here.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from csbsctl.clock import SystemClock
from csbsctl.vault.sealing import DataKeys, SealedSealer
from csbsctl.vault.stores.directory import DirectoryStore
from csbsctl_local.repository import FileSource, Repository


def main(store: str, verb: str, manifest: str, *rest: str) -> None:
    """Do one thing to a repository."""
    sealer = SealedSealer(lambda: DataKeys({1: bytes(range(32))}, bytes(range(32, 64))))
    repository = Repository(DirectoryStore(Path(store)), sealer, clock=SystemClock())
    if verb == "write":
        parent = rest[1] if len(rest) > 1 else None
        changed = [tuple(pair) for pair in json.loads(Path(rest[2]).read_text())] if len(rest) > 2 else None
        with FileSource(rest[0]) as source:
            repository.write(source, manifest=manifest, parent=parent, changed=changed, job="bench")
    elif verb == "restore":
        file = os.open(rest[0], os.O_RDWR | os.O_CREAT, 0o600)
        repository.restore(manifest, file)
        os.close(file)
    elif repository.verify(manifest):
        sys.exit("damaged")


if __name__ == "__main__":
    main(*sys.argv[1:])
