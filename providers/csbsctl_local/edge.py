"""The edge: what the repository, the vault's store and the host say, in the words of the provider contract."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from csbsctl.errors import (
    CloudRefused,
    CloudUnavailable,
    Damaged,
    NotFound,
    ProviderError,
    ResourceNotFound,
    StoreUnavailable,
)


@contextmanager
def provider_errors() -> Iterator[None]:
    """Turn what comes from below into the ProviderError family; let LeaseLost, Interrupted and UsageError pass."""
    try:
        yield
    except NotFound as error:
        raise ResourceNotFound(error.message, hint=error.hint) from error
    except Damaged as error:
        raise CloudRefused(error.message, hint=error.hint, code=error.code) from error
    except StoreUnavailable as error:
        raise CloudUnavailable(error.message, hint=error.hint, code=error.code) from error
    except OSError as error:
        raise _host_error(error) from error


def _host_error(error: OSError) -> ProviderError:
    where = f" ({error.filename})" if error.filename else ""
    text = f"the simulated cloud's host failed: {error.strerror or error}{where}"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return CloudRefused(text, hint="look at the owner and the permissions")
    hint = "make room and try again" if error.errno in (errno.ENOSPC, errno.EDQUOT) else None
    return CloudUnavailable(text, hint=hint)
