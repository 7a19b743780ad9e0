"""A small stack, and policy tests of it run in this process."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from csbsctl.rehearsal import Inputs, Outcome, load
from csbsctl.rehearsal.play import play

CONFIGURATION = """\
version: 1
providers:
  default: {type: local, path: ./cloud}
variables:
  keep: {type: integer, default: 3}
policies:
  nightly:
    schedule: {at: ["02:00"], timezone: Europe/Berlin}
    retention: {count: "{{ var.keep }}"}
bindings:
  web: {policy: nightly, match: {metadata: {tier: web}}}
guardrails: {max_backups_deleted: 0}
"""


class Bench:
    """A folder with a configuration; ``run`` plays one test written as YAML below ``tests: {it: ...}``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.configuration = folder / "csbs.yaml"
        self.configuration.write_text(CONFIGURATION)

    def file(self, text: str, name: str = "some.csbstest.yaml") -> Path:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return path

    def run(self, case: str, **variables: str) -> Outcome:
        whole = "tests:\n  it:\n" + textwrap.indent(textwrap.dedent(case), "    ")
        work = self.folder / "work"
        work.mkdir(exist_ok=True)
        flags = tuple(f"{name}={value}" for name, value in variables.items())
        return play(
            load(self.file(whole)), "it", Inputs(variables=flags), work / str(len(list(work.iterdir())))
        )


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def said(outcome: Outcome) -> list[str]:
    """Return what was wrong, in short."""
    return [failure.message for failure in outcome.failures] + [p.summary for p in outcome.problems]
