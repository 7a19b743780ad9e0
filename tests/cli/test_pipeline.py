"""The exported GitHub workflow, lived through: its own shell steps run in a repository, from a plan to drift and back.

Expressions stand only in ``if`` and ``env``; what they come to is decided here, as GitHub would. Steps that use other
people's actions are skipped: checkout and artifacts become one folder that every job sees.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("git") or not shutil.which("bash"), reason="needs git and bash"),
]

CONFIG = """
version: 1
stack: shop
vault: ../vault
providers:
  default: {{type: local, path: ../cloud}}
policies:
  gold:
    schedule: {{at: ["02:00"]}}
    retention: {{count: {count}}}
bindings:
  web: {{policy: gold, servers: [web-01]}}
guardrails: {{weakens: deny}}
"""


@dataclass
class Finished:
    """How a job ended."""

    code: int
    log: str
    summary: str
    outputs: dict[str, str]


@dataclass
class Repository:
    """A git repository with the workflow in it, and somebody who runs its jobs."""

    folder: Path
    temp: Path
    env: dict[str, str] = field(default_factory=dict)

    def git(self, *words: str) -> None:
        subprocess.run(["git", *words], cwd=self.folder, check=True, capture_output=True, env=self.env)

    def csbsctl(self, *words: str, expect: int = 0) -> str:
        done = subprocess.run(
            ["csbsctl", *words], cwd=self.folder, text=True, capture_output=True, env=self.env, check=False
        )
        assert done.returncode == expect, done.stdout + done.stderr
        return done.stdout

    def commit(self, count: int, branch: str) -> None:
        """Put another retention on a branch."""
        self.git("checkout", "-q", "-B", branch)
        (self.folder / "csbs.yaml").write_text(CONFIG.format(count=count))
        self.csbsctl("fmt")
        self.git("add", ".")
        self.git("commit", "-q", "-m", f"Keep {count}")

    def merge(self, branch: str) -> None:
        self.git("checkout", "-q", "main")
        self.git("merge", "-q", branch)

    def job(
        self, name: str, event: str = "pull_request", *, labels: tuple[str, ...] = (), allow: str = ""
    ) -> Finished:
        """Run the steps of a job one after the other, as the runner does, until one fails."""
        workflow = yaml.safe_load((self.folder / ".github/workflows/csbsctl-shop.yml").read_text())
        assert workflow["defaults"]["run"] == {"shell": "bash", "working-directory": "."}
        files = {key: self.temp / key for key in ("GITHUB_STEP_SUMMARY", "GITHUB_OUTPUT", "GITHUB_ENV")}
        for path in files.values():
            path.write_text("")
        given = {
            "${{ runner.temp }}": str(self.temp),
            "${{ inputs.allow }}": allow,
            "${{ github.event_name != 'pull_request' || "
            "contains(github.event.pull_request.labels.*.name, 'allow-weakening') }}": str(
                event != "pull_request" or "allow-weakening" in labels
            ).lower(),
        }
        log, code = "", 0
        for step in workflow["jobs"][name]["steps"]:
            if "run" not in step or step.get("name") == "Install csbsctl":
                continue
            env = {key: _filled(value, given) for key, value in step.get("env", {}).items()}
            done = subprocess.run(
                ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
                cwd=self.folder,
                text=True,
                capture_output=True,
                check=False,
                env={**self.env, "CI": "true", **{k: str(v) for k, v in files.items()}, **env},
            )
            log, code = log + done.stdout + done.stderr, done.returncode
            if code:
                break
        outputs = dict(line.split("=", 1) for line in files["GITHUB_OUTPUT"].read_text().splitlines())
        return Finished(code, log, files["GITHUB_STEP_SUMMARY"].read_text(), outputs)


def _filled(text: str, given: dict[str, str]) -> str:
    for expression, value in given.items():
        text = text.replace(expression, value)
    assert "${{" not in text, f"nobody says what {text} is"
    return text


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """Return a repository on main whose configuration was applied, with one server in the cloud."""
    binaries, folder, temp = (tmp_path / name for name in ("bin", "repository", "temp"))
    for each in (binaries, folder, temp):
        each.mkdir()
    program = binaries / "csbsctl"
    python = shlex.quote(sys.executable)
    program.write_text(
        f"#!/bin/sh\nexec {python} -c 'import sys; from csbsctl.cli import main; sys.exit(main())' \"$@\"\n"
    )
    program.chmod(0o755)
    known = {
        "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "NO_COLOR": "1",
        "GIT_AUTHOR_NAME": "ann",
        "GIT_AUTHOR_EMAIL": "ann@example.org",
        "GIT_COMMITTER_NAME": "ann",
        "GIT_COMMITTER_EMAIL": "ann@example.org",
        "CSBSCTL_ACTOR": "ann@github",
    }
    made = Repository(folder, temp, known)
    made.git("init", "-q", "-b", "main")
    (folder / "csbs.yaml").write_text(CONFIG.format(count=30))
    made.csbsctl("export", "github", "--out", ".")
    made.csbsctl("sim", "server", "create", "web-01", "--disk", "64M")
    made.csbsctl("apply", "--yes")
    made.commit(30, "main")
    return made


def test_a_change_goes_from_pull_request_to_drift_and_back(repository):
    repository.commit(60, "longer")
    harmless = repository.job("plan")
    assert (harmless.code, harmless.outputs) == (0, {"saved": "true", "changes": "true"})
    assert "retention.count" in harmless.summary
    assert (repository.temp / "shop-plan.html").read_text().lstrip().lower().startswith("<!doctype html")

    repository.git("checkout", "-q", "main")
    repository.commit(7, "shorter")
    refused = repository.job("plan")
    assert refused.code == 4
    assert "weakens" in refused.summary
    assert "::warning title=csbsctl%3A weakens::" in refused.log
    assert "label the pull request 'allow-weakening'" in refused.log
    allowed = repository.job("plan", labels=("allow-weakening",))
    assert (allowed.code, allowed.outputs["changes"]) == (0, "true")

    repository.merge("shorter")
    assert repository.job("plan", "push").outputs["changes"] == "true"
    stopped = repository.job("apply", "push")
    assert stopped.code == 4
    assert "A guardrail refused this" in stopped.log
    assert repository.csbsctl("policy", "show", "gold").count("count: 30") == 1
    assert repository.job("plan", "workflow_dispatch").code == 0
    applied = repository.job("apply", "workflow_dispatch", allow="weakens")
    assert applied.code == 0
    assert "Apply complete! Resources: 0 added, 1 changed, 0 destroyed." in applied.log
    assert repository.job("drift", "schedule").code == 0

    repository.csbsctl("policy", "disable", "gold")
    drifted = repository.job("drift", "schedule")
    assert drifted.code == 2
    assert "policy.gold" in drifted.summary
    assert "::warning title=csbsctl%3A config::policy.gold" in drifted.log

    assert repository.job("plan", "workflow_dispatch").outputs["changes"] == "true"
    assert repository.job("apply", "workflow_dispatch").code == 0
    assert repository.job("drift", "schedule").code == 0
    settled = repository.job("plan", "workflow_dispatch")
    assert (settled.code, settled.outputs["changes"]) == (0, "false")


def test_a_plan_that_the_world_overtook_is_not_applied(repository):
    repository.commit(60, "main")
    assert repository.job("plan", "push").code == 0
    repository.csbsctl("policy", "disable", "gold")
    overtaken = repository.job("apply", "push")
    assert overtaken.code == 1
    assert "changed since" in overtaken.log


def test_a_broken_configuration_fails_before_anything_is_planned(repository):
    (repository.folder / "csbs.yaml").write_text(CONFIG.format(count='"many"'))
    broken = repository.job("plan")
    assert (broken.code, broken.outputs, broken.summary) == (1, {}, "")
    assert "csbs.yaml:" in broken.log
