"""Every error csbsctl raises on purpose, and the exit code each one carries.

    CsbsError                     1    something stops us; always has a message, a stable code and often a hint
    ├── UsageError                1    the command line asks for something that does not exist or fit
    ├── ConfigError               1    the configuration is wrong; carries all diagnostics at once
    ├── NotFound                  1    a policy, server, backup, job, image or generation that is not there
    ├── Refused                   1    a rule of the service forbids it (often with a CSBS code)
    │   └── NotConfirmed          1    it would ask, and nobody was there to answer
    ├── GuardrailRefusal          4    the plan goes past a guardrail of the configuration
    ├── Stale                     1    what was planned is not what is there any more
    ├── Conflict                  1    somebody else was first; plan again
    ├── LeaseLost                 1    another runner took over this server
    ├── Damaged                   1    bytes that do not authenticate or do not parse
    ├── VaultError                1    the vault cannot be used as it is
    │   ├── StoreUnavailable      1    the store does not answer, or refuses; trying later may help
    │   ├── UnsupportedFormat     1    written by a newer csbsctl
    │   └── WrongKey              1    no key that was given opens the vault
    ├── ProviderError             1    a cloud said no
    │   ├── ResourceNotFound      1
    │   ├── ResourceConflict      1    busy; a bounded wait may help
    │   ├── QuotaExceeded         1    never retried
    │   ├── CloudUnavailable      1    may be retried
    │   ├── CloudRefused          1    never retried
    │   └── Unsupported           1    this cloud cannot do that
    └── Interrupted             130    SIGINT (143 for SIGTERM)

Foreign exceptions (OSError, botocore, openstack, yaml, pydantic) are turned into these at the edge that meets them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from csbsctl.diagnostics import Diagnostic, Place


class CsbsError(Exception):
    """The root: what failed and why, how to mend it, and where, if a place in a file is to blame.

    ``code`` is stable and meant for machines: a CSBS code (``CSBS.6010``) where that service has one, else a
    dotted word of ours (``config.invalid``).
    """

    default_code: ClassVar[str] = "error"
    exit_code: int = 1

    def __init__(
        self, message: str, *, hint: str | None = None, code: str | None = None, where: Place | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code or self.default_code
        self.where = where

    def to_json(self) -> dict[str, Any]:
        """Return the ``error`` object that scripts rely on: code, message, hint, where."""
        place = self.where
        where = {"file": place.file, "line": place.line, "column": place.column} if place else None
        return {"code": self.code, "message": self.message, "hint": self.hint, "where": where}


class UsageError(CsbsError):
    """The command line asks for something that does not exist or does not fit together."""

    default_code = "usage"


class ConfigError(CsbsError):
    """The configuration is wrong; ``diagnostics`` has every problem, not just the first."""

    default_code = "config.invalid"

    def __init__(self, diagnostics: Sequence[Diagnostic]) -> None:
        first = diagnostics[0]
        more = f" (and {len(diagnostics) - 1} more)" if len(diagnostics) > 1 else ""
        super().__init__(first.summary + more, hint=first.hint, where=first.place)
        self.diagnostics = tuple(diagnostics)

    def to_json(self) -> dict[str, Any]:
        """Return the error object with all diagnostics beside the first."""
        return {**super().to_json(), "diagnostics": [d.to_json() for d in self.diagnostics]}


class NotFound(CsbsError):
    """A thing that was named is not there."""

    default_code = "not-found"


class Refused(CsbsError):
    """A rule of the service forbids it."""

    default_code = "refused"


class NotConfirmed(Refused):
    """It would have asked, and the answer was no or nobody was there."""

    default_code = "not-confirmed"


class GuardrailRefusal(CsbsError):
    """The plan goes past a guardrail."""

    default_code = "guardrail"
    exit_code = 4


class Stale(CsbsError):
    """What was planned against has changed since."""

    default_code = "plan.stale"


class Conflict(CsbsError):
    """Somebody else committed first."""

    default_code = "conflict"


class LeaseLost(CsbsError):
    """Another runner took this server over; whatever we were doing is theirs now."""

    default_code = "lease.lost"


class Damaged(CsbsError):
    """Stored bytes do not authenticate, do not decompress or do not parse."""

    default_code = "damaged"


class VaultError(CsbsError):
    """The vault cannot be used as it is."""

    default_code = "vault"


class StoreUnavailable(VaultError):
    """The store did not answer or refused to serve us (permissions, disk full, network)."""

    default_code = "vault.unavailable"


class UnsupportedFormat(VaultError):
    """A document or vault was written by a newer csbsctl."""

    default_code = "vault.newer-format"


class WrongKey(VaultError):
    """None of the keys that were given opens the vault."""

    default_code = "vault.wrong-key"


class ProviderError(CsbsError):
    """A cloud refused or failed; ``request_id`` names the call where the cloud gives one."""

    default_code = "provider"

    def __init__(
        self, message: str, *, hint: str | None = None, code: str | None = None, request_id: str | None = None
    ) -> None:
        super().__init__(message, hint=hint, code=code)
        self.request_id = request_id


class ResourceNotFound(ProviderError):
    """The cloud does not have it (any more)."""

    default_code = "provider.not-found"


class ResourceConflict(ProviderError):
    """The resource is busy or in the wrong state; a bounded wait may help."""

    default_code = "provider.conflict"


class QuotaExceeded(ProviderError):
    """A quota is used up; trying again does not help."""

    default_code = "CSBS.9006"


class CloudUnavailable(ProviderError):
    """The cloud did not answer or failed on its side; trying again may help."""

    default_code = "provider.unavailable"


class CloudRefused(ProviderError):
    """The cloud understood and said no; trying again does not help."""

    default_code = "provider.refused"


class Unsupported(ProviderError):
    """This cloud cannot do that."""

    default_code = "provider.unsupported"


class Interrupted(CsbsError):
    """The user or the system asked us to stop."""

    default_code = "interrupted"
    exit_code = 130

    def __init__(self, message: str = "interrupted", *, exit_code: int = 130) -> None:
        super().__init__(message, hint="run the same command again to continue")
        self.exit_code = exit_code
