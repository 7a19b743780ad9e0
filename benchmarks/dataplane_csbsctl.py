"""The repository as a command, so that it is measured as a process like the others: start-up included.

    python benchmarks/dataplane_csbsctl.py STORE CACHE write MANIFEST IMAGE [PARENT CHANGED.json]
    python benchmarks/dataplane_csbsctl.py STORE CACHE restore MANIFEST FILE
    python benchmarks/dataplane_csbsctl.py STORE CACHE verify MANIFEST

STORE is a folder, or ``s3:http://HOST:PORT/BUCKET/PREFIX``. Encryption is on: the vault's own sealer, with keys that
are known here.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from pathlib import Path

from csbsctl.cli.main import COLLECT_EVERY
from csbsctl.clock import SystemClock
from csbsctl.vault.sealing import DataKeys, SealedSealer
from csbsctl.vault.stores import Store, StoreOptions, open_store
from csbsctl_local.repository import FileSource, Repository


def store_at(url: str) -> Store:
    """Open the store: a folder, or what restic calls s3:ENDPOINT/BUCKET/PREFIX."""
    if not url.startswith("s3:"):
        return open_store(url, base=Path("/"), options=StoreOptions())
    scheme, _, host, place = url.removeprefix("s3:").split("/", 3)
    options = StoreOptions(endpoint_url=f"{scheme}//{host}")
    return open_store(f"s3://{place}", base=Path("/"), options=options)


def main(url: str, cache: str, verb: str, manifest: str, *rest: str) -> None:
    """Do one thing to a repository."""
    gc.set_threshold(COLLECT_EVERY)  # as every command does
    sealer = SealedSealer(lambda: DataKeys({1: bytes(range(32))}, bytes(range(32, 64))))
    store = store_at(url)
    repository = Repository(store, sealer, clock=SystemClock(), cache=Path(cache) if store.remote else None)
    readers, writers = (6, 4) if store.remote else (2, 2)  # as the local provider does
    if verb == "write":
        parent = rest[1] if len(rest) > 1 else None
        changed = [tuple(pair) for pair in json.loads(Path(rest[2]).read_text())] if len(rest) > 2 else None
        with FileSource(rest[0]) as source:
            repository.write(
                source, manifest=manifest, parent=parent, changed=changed, job="bench", threads=writers
            )
    elif verb == "restore":
        file = os.open(rest[0], os.O_RDWR | os.O_CREAT, 0o600)
        repository.restore(manifest, file, threads=readers)
        os.close(file)
    elif repository.verify(manifest, threads=readers):
        sys.exit("damaged")


if __name__ == "__main__":
    main(*sys.argv[1:])
