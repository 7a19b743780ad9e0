"""Many tests at once, each in a process of its own: one per core, in the order of the files.

The processes share nothing; what they leave in the folder is removed here, however it ends.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from csbsctl.diagnostics import Diagnostic
from csbsctl.rehearsal.loading import TestFile
from csbsctl.rehearsal.outcome import Outcome
from csbsctl.rehearsal.play import play
from csbsctl.rehearsal.world import Inputs

_SIGNALS = {signal.SIGINT, signal.SIGTERM}
_MEMORY = "/dev/shm"  # noqa: S108 - only the parent of a folder that mkdtemp names


@dataclass(frozen=True, slots=True)
class Planned:
    """One test that is to be run."""

    file: TestFile
    name: str


def play_all(tests: Sequence[Planned], inputs: Inputs, jobs: int | None = None) -> Iterator[Outcome]:
    """Yield how the tests ended, in their order; ``jobs`` is how many run at once, one per core when None."""
    with _folder() as folder, _workers(min(jobs or _cores(), len(tests))) as pool:
        with _undisturbed():
            waiting = [
                (test, pool.submit(_play, test, inputs, folder / str(number)))
                for number, test in enumerate(tests)
            ]
        for test, future in waiting:
            yield _result(test, future)


def _result(test: Planned, future: Future[Outcome]) -> Outcome:
    try:
        return future.result()
    except BrokenProcessPool:
        place = test.file.place("tests", test.name)
        case = test.file.suite.tests[test.name]
        gone = Diagnostic("the process that ran tests was killed", place, hint="was there too little memory?")
        return Outcome(test.file.shown, test.name, place, case.span, problems=(gone,))


def _play(test: Planned, inputs: Inputs, folder: Path) -> Outcome:
    folder.mkdir()
    try:
        return play(test.file, test.name, inputs, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="csbsctl-test-", dir=_in_memory()))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _in_memory() -> str | None:
    """Return a folder in memory where there is one and nobody named another: a test makes many small, short-lived files."""
    usable = "TMPDIR" not in os.environ and os.access(_MEMORY, os.W_OK)
    return _MEMORY if usable else None


@contextmanager
def _workers(count: int) -> Iterator[ProcessPoolExecutor]:
    """Yield the pool; when its user is interrupted, its processes end at once."""
    before = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(count, multiprocessing.get_context("fork"), initializer=_leave_signals_alone)
    try:
        yield pool
    except BaseException:
        for process in set(multiprocessing.active_children()) - before:
            process.kill()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Put signals off while processes are started: one that we do not know of yet would outlive us."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _leave_signals_alone() -> None:
    """Let the process that started us decide what Ctrl-C means; it ends us."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)


def _cores() -> int:
    return len(os.sched_getaffinity(0))
