"""Where a key comes from: a passphrase, a key file, or a command that prints one (KMS, Vault, Barbican by script)."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from csbsctl.errors import UsageError, VaultError

PASSPHRASE = "passphrase"  # noqa: S105 - a kind of secret, not one
MATERIAL = "key"

SCRYPT_WORK = 17
"""Base-2 logarithm of scrypt's cost: 128 MiB and about half a second for every guess."""

_SHORTEST_KEY = 16
_PATIENCE = 60


@dataclass(frozen=True, slots=True)
class Secret:
    """What a source gave: a passphrase (to be stretched), or key material that is strong by itself."""

    kind: str
    value: bytes = field(repr=False)

    def wrapping_key(self, salt: bytes, work: int) -> bytes:
        """Return the 32-byte key that wraps a slot; slow on purpose for a passphrase."""
        if self.kind == PASSPHRASE:
            cost = 1 << work
            return hashlib.scrypt(self.value, salt=salt, n=cost, r=8, p=1, maxmem=cost * 1024 * 2, dklen=32)
        return hashlib.blake2b(self.value, digest_size=32, salt=salt[:16], person=b"csbsctl key").digest()


@dataclass(frozen=True, slots=True)
class KeySource:
    """Exactly one place to get the key from. Relative paths start at ``base``.

    ``required`` refuses a vault that is not encrypted; ``control`` and ``work`` (scrypt's cost) count when a vault
    or a slot is made.
    """

    passphrase_env: str | None = None
    passphrase_file: str | None = None
    key_file: str | None = None
    key_command: str | None = None
    base: Path = Path()
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    required: bool = True
    control: bool = False
    work: int = SCRYPT_WORK

    def __str__(self) -> str:
        if self.passphrase_env:
            return f"passphrase of ${self.passphrase_env}"
        if self.passphrase_file:
            return f"passphrase in {self.passphrase_file}"
        return f"key file {self.key_file}" if self.key_file else "key command"

    def read(self) -> Secret:
        """Return the secret.

        Raises:
            UsageError: it is empty or too short, or not exactly one source is named.
            VaultError: the file cannot be read or the command failed (code ``vault.key-source``).
        """
        named = (self.passphrase_env, self.passphrase_file, self.key_file, self.key_command)
        if sum(bool(source) for source in named) != 1:
            raise UsageError(
                "an encrypted vault wants exactly one of passphrase_env, passphrase_file, key_file and key_command"
            )
        if self.passphrase_env or self.passphrase_file:
            return self._passphrase()
        value = self._file(self.key_file) if self.key_file else self._command(str(self.key_command))
        if len(value) < _SHORTEST_KEY:
            raise UsageError(
                f"the {self} gives {len(value)} bytes; a key has at least {_SHORTEST_KEY}",
                hint="make one with: head -c 32 /dev/urandom | base64 > key",
            )
        return Secret(MATERIAL, value)

    def _passphrase(self) -> Secret:
        if self.passphrase_env:
            value = self.environ.get(self.passphrase_env, "").encode()
        else:
            value = self._file(str(self.passphrase_file))
        if not value:
            raise UsageError(f"the {self} is empty", hint="set it to the passphrase that opens the vault")
        return Secret(PASSPHRASE, value)

    def _file(self, name: str) -> bytes:
        path = self.base / Path(name).expanduser()
        try:
            return path.read_bytes().rstrip(b"\r\n")
        except OSError as error:
            raise VaultError(
                f"cannot read the {self}: {error.strerror}", hint=f"looked at {path}", code="vault.key-source"
            ) from error

    def _command(self, command: str) -> bytes:
        try:
            done = subprocess.run(
                ["/bin/sh", "-c", command],
                capture_output=True,
                check=False,
                cwd=self.base,
                env=dict(self.environ) or None,
                stdin=subprocess.DEVNULL,
                timeout=_PATIENCE,
            )
        except subprocess.TimeoutExpired:
            raise VaultError(
                f"the key command did not answer within {_PATIENCE} s", hint=command, code="vault.key-source"
            ) from None
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip().splitlines()
            raise VaultError(
                f"the key command failed with exit code {done.returncode}: {said[-1] if said else 'it said nothing'}",
                hint=command,
                code="vault.key-source",
            )
        return done.stdout.rstrip(b"\r\n")
