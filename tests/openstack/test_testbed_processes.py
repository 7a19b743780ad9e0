"""The test bed's own care for its processes, which every run of it depends on; runs without a cloud."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

TESTBED = Path(__file__).parent / "testbed"
PATIENCE = 60
pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="the test bed runs on Linux")


def until(look: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not look():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def state(pid: int) -> str:
    """Return the letter that Linux has for what a process does; nothing when there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


@pytest.fixture
def bed(tmp_path):
    """Run lines of shell as a script of the test bed does; whatever they start is gone at the end."""
    for folder in ("run", "log", "state"):
        (tmp_path / folder).mkdir()
    environment = {**os.environ, "TESTBED": str(tmp_path)}

    def run(script: str) -> subprocess.CompletedProcess[str]:
        command = ["bash", "-euo", "pipefail", "-c", f". {TESTBED}/lib.sh\n{script}"]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    yield run
    run("stop_all")


def pid_of(tmp_path: Path, name: str) -> int:
    return int((tmp_path / f"run/{name}.pid").read_text())


def test_a_service_runs_once_and_is_started_again_when_it_was_killed(bed, tmp_path):
    assert bed("start it sleep 1000; running it").returncode == 0
    first = pid_of(tmp_path, "it")
    assert bed("start it sleep 1000").returncode == 0
    assert pid_of(tmp_path, "it") == first

    os.killpg(first, signal.SIGKILL)
    until(lambda: bed("running it").returncode != 0, "a killed service counts as running")

    assert bed("start it sleep 1000; running it").returncode == 0
    assert pid_of(tmp_path, "it") != first


def test_a_killed_service_that_nobody_reaped_does_not_run(bed, tmp_path):
    environment = {**os.environ, "TESTBED_SERVICE": f"{tmp_path}:it"}
    with subprocess.Popen(["sleep", "1000"], env=environment) as service:
        (tmp_path / "run/it.pid").write_text(f"{service.pid}\n")
        until(lambda: bed("running it").returncode == 0, "the service does not start")
        service.kill()
        until(lambda: state(service.pid) == "Z", "the service does not end")
        assert bed("running it").returncode != 0


def test_a_number_that_another_process_has_by_now_is_left_alone(bed, tmp_path):
    with subprocess.Popen(["sleep", "1000"], start_new_session=True) as stranger:
        (tmp_path / "run/it.pid").write_text(f"{stranger.pid}\n")
        assert bed("running it").returncode != 0
        assert bed("start it sleep 1000; running it; stop_all").returncode == 0
        assert stranger.poll() is None
        stranger.kill()


def test_what_a_service_left_behind_goes_before_it_starts_anew_and_in_the_end(bed, tmp_path):
    helper = 'setsid sleep 1000 & echo $! >"$RUN/new"; mv "$RUN/new" "$RUN/helper"; exec sleep 1000'
    assert bed(f"export RUN; start it bash -c '{helper}'").returncode == 0
    until((tmp_path / "run/helper").exists, "the service does not start")
    first = int((tmp_path / "run/helper").read_text())
    os.kill(pid_of(tmp_path, "it"), signal.SIGKILL)
    until(lambda: bed("running it").returncode != 0, "a killed service counts as running")

    (tmp_path / "run/helper").unlink()
    assert bed(f"export RUN; start it bash -c '{helper}'").returncode == 0
    until(lambda: state(first) in {"", "Z"}, "what the first left behind still runs")
    until((tmp_path / "run/helper").exists, "the service does not start again")
    second = int((tmp_path / "run/helper").read_text())
    os.kill(second, signal.SIGSTOP)

    assert bed("stop_all").returncode == 0
    until(lambda: state(second) in {"", "Z"}, "a stopped process outlives the test bed")


def test_waiting_for_a_service_that_has_ended_is_over_at_once_and_says_its_last_words(bed):
    said = bed("start it sh -c 'echo no room on the disk; exit 1'; await it false")
    assert said.returncode == 1
    assert "it ended" in said.stderr
    assert "no room on the disk" in said.stderr


@pytest.mark.parametrize("alone", ["", "no"])
def test_a_command_is_run_alone_or_as_it_is_and_its_exit_code_counts(alone):
    script = "import sys; sys.exit(7 if sys.argv[1:] == ['a b'] else 1)"
    command = [sys.executable, str(TESTBED / "alone.py"), sys.executable, "-c", script, "a b"]
    ended = subprocess.run(command, env={**os.environ, "TESTBED_ALONE": alone}, check=False)
    assert ended.returncode == 7
