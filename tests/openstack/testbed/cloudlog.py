"""A pytest plug-in: a failed test is told at once, with the errors that the test bed's services logged meanwhile.

``PYTHONPATH=tests/openstack/testbed pytest -p cloudlog``; TESTBED says where the logs are. With other tests
running beside, theirs are among them. At once, because a run of many minutes may be ended before its end.
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


def pytest_configure(config: pytest.Config) -> None:
    """Let the process that prints tell of failures."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Teller(config))


class Teller:
    """Prints the reports of failures as they come in."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Print one."""
        reporter: Any = self._config.pluginmanager.get_plugin("terminalreporter")
        if not report.failed or reporter is None:
            return
        reporter.ensure_newline()
        reporter.write_sep(
            "=", f"{report.nodeid} failed in {report.when} after {report.duration:.0f} s", red=True
        )
        reporter.write_line(report.longreprtext)
        for name, text in report.sections:
            reporter.write_sep("-", name)
            reporter.write_line(text)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        """Keep pytest from telling all of it again at the end; the list of what failed stays."""
        self._config.option.tbstyle = "no"


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
