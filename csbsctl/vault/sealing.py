"""The sealer of an encrypted vault: AES-256-GCM under a key of its own for every object.

Sealed bytes, in order: version (1 byte, value 1), number of the data key (3 bytes, big-endian), salt (24 random
bytes), ciphertext, tag (16 bytes). BLAKE3 keyed with the data key turns salt and context into the object's key (32
bytes) and nonce (12 bytes). No key ever seals twice, so the limits of random 96-bit nonces do not apply, however many
objects a data key protects; and bytes that are moved to another place (context) do not open.
"""

from __future__ import annotations

import hmac
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from csbsctl.blobs import Buffer
from csbsctl.errors import Damaged

_VERSION = 1
_HEADER = 4
_SALT = 24
_TAG = 16
_KEY = 32
_NONCE = 12


@dataclass(frozen=True, slots=True)
class DataKeys:
    """The secrets of a vault: numbered data keys of which the highest seals, and the key that names content."""

    secrets: dict[int, bytes] = field(repr=False)
    naming: bytes = field(repr=False)

    @property
    def current(self) -> int:
        """Return the number of the key that seals what is new."""
        return max(self.secrets)


class SealedSealer:
    """Seals with a vault's data keys, which are unlocked when they are needed first: a plan never pays for that."""

    algorithm = "AES-256-GCM"
    overhead = _HEADER + _SALT + _TAG

    def __init__(self, unlock: Callable[[], DataKeys]) -> None:
        self._unlock = unlock
        self._keys: DataKeys | None = None
        self._lock = threading.Lock()
        """Guards ``_keys``: one thread unlocks."""

    def seal(self, plain: Buffer, context: bytes) -> bytes:
        """See Sealer."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - heavy

        keys = self.keys()
        header = bytes((_VERSION,)) + keys.current.to_bytes(3, "big")
        salt = os.urandom(_SALT)
        key, nonce = _derive(keys.secrets[keys.current], salt, context)
        return b"".join((header, salt, AESGCM(key).encrypt(nonce, plain, header)))

    def open(self, sealed: Buffer, context: bytes) -> bytes:
        """See Sealer."""
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - heavy
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - heavy

        view = memoryview(sealed).cast("B")
        if len(view) < self.overhead or view[0] != _VERSION:
            raise Damaged("these are no sealed bytes")
        header, salt = bytes(view[:_HEADER]), bytes(view[_HEADER : _HEADER + _SALT])
        key, nonce = _derive(self._secret(int.from_bytes(header[1:], "big")), salt, context)
        try:
            return AESGCM(key).decrypt(nonce, view[_HEADER + _SALT :], header)
        except InvalidTag:
            raise Damaged("sealed bytes are not authentic, or not what belongs in this place") from None

    def name(self, content: Buffer) -> bytes:
        """See Sealer."""
        from blake3 import blake3  # noqa: PLC0415 - only paths that touch data pay for it

        return blake3(content, key=self.keys().naming).digest()

    def sign(self, message: bytes) -> str:
        """Return a signature of the vault: the number of the key, and an HMAC-SHA-256 in hex."""
        return self._signature(self.keys().current, message)

    def verify(self, message: bytes, signature: str) -> bool:
        """Tell whether ``sign`` made a signature, under whichever key."""
        number = signature.partition(":")[0]
        if not number.isdigit() or int(number) not in self.keys().secrets:
            return False
        return hmac.compare_digest(self._signature(int(number), message), signature)

    def keys(self, *, again: bool = False) -> DataKeys:
        """Return the data keys, unlocked on first use (or ``again``). Raises WrongKey."""
        with self._lock:
            if self._keys is None or again:
                self._keys = self._unlock()
            return self._keys

    def _secret(self, number: int) -> bytes:
        secrets = self.keys().secrets
        if number not in secrets:  # another process may have rotated the keys since we unlocked them
            secrets = self.keys(again=True).secrets
        if number not in secrets:
            raise Damaged(f"sealed with data key {number}, which the vault does not have")
        return secrets[number]

    def _signature(self, number: int, message: bytes) -> str:
        key = hmac.digest(self._secret(number), b"csbsctl audit", "sha256")
        return f"{number}:{hmac.digest(key, message, 'sha256').hex()}"


def _derive(secret: bytes, salt: bytes, context: bytes) -> tuple[bytes, bytes]:
    from blake3 import blake3  # noqa: PLC0415 - only paths that touch data pay for it

    material = blake3(salt + context, key=secret).digest(length=_KEY + _NONCE)
    return material[:_KEY], material[_KEY:]
