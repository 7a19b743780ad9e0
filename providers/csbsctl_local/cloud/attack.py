"""Ransomware: encrypts in place what lies on a server's disks. Deterministic, and of no use to an attacker."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from csbsctl_local.cloud.disk import Disk
from csbsctl_local.cloud.sparse import all_zero

_PIECE = 256 * 1024


def attack(disks: Sequence[Disk], seed: int) -> int:
    """Encrypt every piece of every disk that holds data, through the I/O path; return the bytes overwritten."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes  # noqa: PLC0415 - heavy, rarely needed

    overwritten = 0
    for number, disk in enumerate(disks):
        key = hashlib.sha256(f"ransom {seed} {number}".encode()).digest()
        for offset, length in disk.extents():
            for start in range(offset, offset + length, _PIECE):
                plain = disk.read(start, min(_PIECE, offset + length - start))
                if all_zero(plain):
                    continue
                counter = modes.CTR(
                    (start // 16).to_bytes(16, "big")
                )  # its place on the disk: any order, same bytes
                disk.write(start, Cipher(algorithms.AES256(key), counter).encryptor().update(plain))
                overwritten += len(plain)
    return overwritten
