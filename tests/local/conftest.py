"""The local provider on a cloud and a vault in a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from csbsctl.blobs import PlainSealer
from csbsctl.clock import SystemClock
from csbsctl.provider import Host
from csbsctl.vault.stores.directory import DirectoryStore
from csbsctl_local.provider import LocalProvider
from csbsctl_local.settings import LocalSettings


@pytest.fixture
def open_provider(tmp_path: Path) -> Iterator[Callable[..., LocalProvider]]:
    """Return a function that opens the provider, with settings, as a process of its own would."""
    opened: list[LocalProvider] = []

    def open_it(*, vault: bool = True, **settings: object) -> LocalProvider:
        host = Host(
            name="default",
            base=tmp_path,
            clock=SystemClock(),
            blobs=DirectoryStore(tmp_path / "vault") if vault else None,
            sealer=PlainSealer() if vault else None,
        )
        opened.append(LocalProvider(LocalSettings.model_validate(settings), host))
        return opened[-1]

    yield open_it
    for provider in opened:
        provider.close()


@pytest.fixture
def provider(open_provider: Callable[..., LocalProvider]) -> LocalProvider:
    return open_provider()
