"""A pytest plug-in: the report of a failed test ends with the errors that the test bed's services logged meanwhile.

``PYTHONPATH=tests/openstack/testbed pytest -p cloudlog``; TESTBED says where the logs are. With other tests running
beside, theirs are among them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

LOGS = Path(os.environ.get("TESTBED", "")) / "log"
TOLD = re.compile(rb" (?:ERROR|CRITICAL) |^(?:[A-Za-z.]*(?:Error|Exception)):")
LINES_EACH, WIDTH, MOST_READ = 12, 300, 8 << 20
_BEGAN = pytest.StashKey[dict[Path, int]]()


def sizes() -> dict[Path, int]:
    """Return how long each log is."""
    return {path: path.stat().st_size for path in sorted(LOGS.glob("*.log"))}


def errors_since(before: dict[Path, int]) -> str:
    """Return the last errors of each log that has grown."""
    told = []
    for path, size in sizes().items():
        begin = max(before.get(path, 0), size - MOST_READ)
        if size <= begin:
            continue
        with path.open("rb") as log:
            log.seek(begin)
            found = [line for line in log.read().splitlines() if TOLD.search(line)]
        if found:
            lines = "\n".join(line[:WIDTH].decode(errors="replace") for line in found[-LINES_EACH:])
            told.append(f"{path.name} ({len(found)} errors):\n{lines}")
    return "\n".join(told) or "no errors"


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Remember where the logs end."""
    item.stash[_BEGAN] = sizes()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: Any) -> Iterator[Any]:
    """Add what the services said to the report of a failure."""
    report = yield
    if report.failed:
        report.sections.append(("the cloud's errors meanwhile", errors_since(item.stash.get(_BEGAN, {}))))
    return report
