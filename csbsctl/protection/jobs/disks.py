"""The disks of one server stored side by side, as many at once as the cloud likes; one that fails stops the others."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace

from csbsctl.errors import CsbsError, Interrupted, LeaseLost
from csbsctl.model.backup import StoredVolume
from csbsctl.protection.jobs.work import Work
from csbsctl.provider import Step, VolumeSnapshot


class _Stopped(Interrupted):
    """What ends the work on a disk when another disk of the same server has failed."""


def store_all(
    work: Work,
    disks: Sequence[VolumeSnapshot],
    store: Callable[[VolumeSnapshot, Step], StoredVolume],
) -> tuple[StoredVolume, ...]:
    """Return what ``store`` made of each disk, in order.

    Raises:
        CsbsError: the first failure, once nothing works on the other disks any more; a lost lease before all else.
    """
    failed = threading.Event()

    def check() -> None:
        if failed.is_set():
            raise _Stopped("another disk of the server failed")
        work.check()

    def one(disk: VolumeSnapshot) -> StoredVolume:
        try:
            check()
            return store(disk, replace(work.step(disk.volume.name or disk.volume.id), check=check))
        except BaseException:
            failed.set()
            raise

    side_by_side = min(work.provider.capabilities.parallel_disks, len(disks))
    if side_by_side <= 1:
        return tuple(one(disk) for disk in disks)
    with ThreadPoolExecutor(side_by_side, thread_name_prefix=f"disk-of-{work.job.server_name}") as pool:
        futures = [pool.submit(one, disk) for disk in disks]
        wait(futures)
    errors = [error for future in futures if (error := future.exception())]
    if errors:
        raise min(errors, key=_rank)
    return tuple(future.result() for future in futures)


def _rank(error: BaseException) -> int:
    """Return how much an error says: what stopped the others matters, that they were stopped does not."""
    if not isinstance(error, CsbsError):
        return 0
    if isinstance(error, LeaseLost):
        return 1
    return 3 if isinstance(error, _Stopped) else 2
