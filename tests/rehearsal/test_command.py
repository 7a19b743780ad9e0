"""``csbsctl test`` as a user types it."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from xml.etree import ElementTree as ET

import jsonschema
import pytest

from tests.conftest import EXECUTABLE
from tests.rehearsal.conftest import CONFIGURATION

SCHEMA = json.loads((Path(__file__).parents[2] / "schemas" / "test.schema.json").read_text())
TESTS = """\
tests:
  good:
    start: "2027-05-01"
    span: 2d
    servers: {web: {metadata: {tier: web}}}
    expect: [{always: true, rpo: 1d}]
  bad:
    start: "2027-05-01"
    span: 2d
    servers: {web: {count: 2, metadata: {tier: web}}}
    expect: [{restore_points: {min: 3}}]
"""


@pytest.fixture
def shop(csbsctl, tmp_path, monkeypatch):
    """The command line in a folder with a configuration and tests, and an empty folder for temporary files."""
    csbsctl.write(CONFIGURATION)
    csbsctl.write(TESTS, "tests/shop.csbstest.yaml")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    return csbsctl


def test_one_line_a_test_then_what_failed_then_the_sum(shop):
    said = shop.apart("test", expect=1)
    lines = said.out.splitlines()
    assert lines[0].startswith("PASS  ")
    assert "  good  48h in " in lines[0]
    assert lines[0].endswith("1 server, 2 backups")
    assert lines[1].startswith("FAIL  ")
    assert (
        "shop.csbstest.yaml:11:15: error: restore_points: web-01: 2 restore points; expected: at least 3"
        in said.out
    )
    assert "  also web-02: 2 restore points; expected: at least 3" in lines
    assert "  when: 2027-05-03 02:00 CEST (2027-05-03 00:00 UTC)" in lines
    assert lines[-1] == "2 tests: 1 passed, 1 failed."


def test_neither_vault_nor_cloud_nor_temporary_files_come_of_it(shop):
    shop.apart("test", "-k", "good")
    assert sorted(path.name for path in shop.folder.iterdir() if path.name != "temporary") == [
        "csbs.yaml",
        "tests",
    ]
    assert list(Path(os.environ["TMPDIR"]).iterdir()) == []


def test_json_holds_to_its_schema_and_junit_counts(shop):
    shop.write(TESTS.replace("span: 2d", "span: 1d"), "tests/shop.csbstest.yaml")
    document = shop.apart("test", "--json", expect=1).json
    jsonschema.Draft202012Validator(SCHEMA, format_checker=jsonschema.FormatChecker()).validate(document)
    assert document["summary"] == {"passed": 1, "failed": 1}
    assert document["tests"][1]["failures"][0]["where"]["line"] == 11
    suite = ET.fromstring(shop.apart("test", "--format", "junit", expect=1).out.encode()).find("testsuite")
    assert suite is not None
    assert {key: suite.get(key) for key in ("tests", "failures", "errors")} == {"tests": "2", "failures": "2", "errors": "0"}  # fmt: skip


def test_a_test_that_cannot_run_is_told_with_its_place(shop):
    shop.write(TESTS.replace("tier: web}}}\n    expect: [{always", "tier: db}}}\n    events: [{at: 1d, attack: db}]\n    expect: [{always"), "tests/shop.csbstest.yaml")  # fmt: skip
    said = shop.apart("test", "-k", "good", expect=1)
    assert "shop.csbstest.yaml:6:31: error: attack: there is no server 'db'" in said.out


def test_without_tests_it_says_how_to_write_one(csbsctl):
    csbsctl.write(CONFIGURATION)
    said = csbsctl("test", expect=1)
    assert "there are no policy tests in" in said.err
    assert "write one as tests/first.csbstest.yaml" in said.err


def test_a_name_that_no_test_has_is_an_error(shop):
    said = shop("test", "-k", "goood", expect=1)
    assert "no test has 'goood' in its name" in said.err
    assert "did you mean 'good'?" in said.err
    assert "there is no format" in shop("test", "--format", "sarif", expect=1).err


def test_on_a_terminal_a_bar_below_counts_and_is_gone_in_the_end(shop, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    master, slave = pty.openpty()
    words = [*EXECUTABLE, "-C", str(shop.folder), "test", "-k", "good"]
    with subprocess.Popen(words, stdin=slave, stdout=slave, stderr=slave) as running:
        os.close(slave)
        shown = b""
        with suppress(OSError):  # what Linux says at the end
            while more := os.read(master, 4096):
                shown += more
        assert running.wait(100) == 0
    os.close(master)
    text = shown.decode()
    assert "0/1" in text
    assert "1/1" in text
    end = text[text.rindex("1/1") :]
    assert "\x1b[2K" in end, "the bar is wiped away"
    assert "PASS" not in end
    assert re.search(r"\x1b\[2KPASS  .* good .*\r\n", text), "lines stand alone"


@pytest.mark.timeout(900)  # a machine that does much else may take minutes to start two processes
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_it_leaves_nothing_behind(shop, number, code):
    shop.write(TESTS.replace("span: 2d", "span: 3650d"), "tests/shop.csbstest.yaml")
    running = shop.spawn("test")
    temporary = Path(os.environ["TMPDIR"])
    deadline = 4000
    while not list(temporary.glob("csbsctl-test-*/*/cloud-0/*")) and deadline:
        try:
            running.wait(0.1)
        except subprocess.TimeoutExpired:
            deadline -= 1
        else:
            pytest.fail(str(running.communicate()))
    running.send_signal(number)
    try:
        running.communicate(timeout=300)
    finally:
        running.kill()
    assert running.returncode == code
    assert list(temporary.iterdir()) == []
