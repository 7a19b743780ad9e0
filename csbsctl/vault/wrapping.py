"""How secrets are wrapped: symmetric under a wrapping key, or to a slot's public key.

A slot has an X25519 key pair whose private half only its owner's secret unwraps. So the keys of a vault can be
rotated for everybody by one key holder, without the other holders' secrets.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from csbsctl.errors import WrongKey

_NONCE = 12
_PUBLIC = 32


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A slot's halves, as raw bytes."""

    private: bytes
    public: bytes


def new_key_pair() -> KeyPair:
    """Draw a key pair."""
    private = X25519PrivateKey.generate()
    return KeyPair(private.private_bytes_raw(), private.public_key().public_bytes_raw())


def wrap(key: bytes, secret: bytes, context: bytes) -> bytes:
    """Return nonce (12 bytes), ciphertext and tag of a secret under a 32-byte key."""
    nonce = os.urandom(_NONCE)
    return nonce + AESGCM(key).encrypt(nonce, secret, context)


def unwrap(key: bytes, wrapped: bytes, context: bytes) -> bytes:
    """Return the secret. Raises WrongKey."""
    try:
        return AESGCM(key).decrypt(wrapped[:_NONCE], wrapped[_NONCE:], context)
    except (InvalidTag, ValueError):
        raise WrongKey("this key does not open it") from None


def wrap_to(public: bytes, secret: bytes, context: bytes) -> bytes:
    """Return an ephemeral public key (32 bytes) and the secret wrapped under what it shares with ``public``."""
    ephemeral = X25519PrivateKey.generate()
    shared = ephemeral.exchange(X25519PublicKey.from_public_bytes(public))
    mine = ephemeral.public_key().public_bytes_raw()
    return mine + wrap(_shared_key(shared, mine + public), secret, context)


def unwrap_from(private: bytes, wrapped: bytes, context: bytes) -> bytes:
    """Return what ``wrap_to`` wrapped. Raises WrongKey."""
    mine = X25519PrivateKey.from_private_bytes(private)
    ephemeral = wrapped[:_PUBLIC]
    try:
        shared = mine.exchange(X25519PublicKey.from_public_bytes(ephemeral))
    except ValueError:
        raise WrongKey("this key does not open it") from None
    key = _shared_key(shared, ephemeral + mine.public_key().public_bytes_raw())
    return unwrap(key, wrapped[_PUBLIC:], context)


def _shared_key(shared: bytes, both: bytes) -> bytes:
    return HKDF(SHA256(), 32, salt=both, info=b"csbsctl slot").derive(shared)
