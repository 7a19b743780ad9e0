"""A user whose rules reach what nobody expected: too many servers, another stack's server, a cloud that is away."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import conforms

HEAD = (
    "version: 1\nstack: {stack}\nvault: ../vault\nproviders: {{default: {{type: local, path: ../cloud}}}}\n"
)
POLICY = 'policies: {gold: {schedule: {at: ["02:00"], start_within: 4h}, retention: {count: 1}}}\n'
BINDING = 'bindings: {{{name}: {{policy: gold, match: {{name: "{glob}"}}{more}}}}}\n'


@pytest.fixture
def stacks(csbsctl):
    """Return a function that writes and applies a stack's configuration."""

    def apply(stack: str, glob: str, at: str, more: str = "") -> None:
        folder = csbsctl.folder / stack
        folder.mkdir(exist_ok=True)
        text = HEAD.format(stack=stack) + POLICY + BINDING.format(name=f"of-{stack}", glob=glob, more=more)
        (folder / "csbs.yaml").write_text(text)
        csbsctl("-C", str(folder), "--at", at, "apply", "--yes")

    return apply


def server(csbsctl, name: str, at: str) -> None:
    csbsctl("-C", str(csbsctl.folder / "shop"), "--at", at, "sim", "server", "create", name, "--disk", "1M")


def run(csbsctl, stack: str, at: str, expect: int = 0) -> list[dict]:
    lines = csbsctl("-C", stack_of(csbsctl, stack), "--at", at, "run", "--json", expect=expect).lines
    for line in lines:
        conforms(line, "run-event")
    return lines


def stack_of(csbsctl, stack: str) -> str:
    return str(csbsctl.folder / stack)


def test_a_binding_that_reaches_more_than_it_expects_ends_a_run_with_3_and_a_word(csbsctl, stacks):
    stacks("shop", "none-*", "2026-11-20T00:00:00Z")
    server(csbsctl, "web-01", "2026-11-20T00:10:00Z")
    stacks("shop", "web-*", "2026-11-20T00:20:00Z", ", expect: {max: 1}")
    server(csbsctl, "web-02", "2026-11-20T00:30:00Z")
    lines = run(csbsctl, "shop", "2026-11-20T02:00:10Z", expect=3)
    (doubted,) = [line for line in lines if line["event"] == "binding.doubted"]
    assert (doubted["server"], doubted["binding"]) == (None, "of-shop")
    assert lines[-1]["succeeded"] == 1
    said = csbsctl("-C", stack_of(csbsctl, "shop"), "--at", "2026-11-20T02:00:20Z", "run", expect=3)
    assert "binding.of-shop is not believed: it reaches 2 servers, more than the 1 it expects" in said.out
    refused = csbsctl("-C", stack_of(csbsctl, "shop"), "plan", "--json", expect=1).json["error"]
    assert refused["where"]["line"] == 6


def test_a_new_server_that_rules_of_two_stacks_find_is_backed_up_once_and_both_hear_of_it(csbsctl, stacks):
    stacks("shop", "web-*", "2026-11-20T00:00:00Z")
    stacks("lab", "*-01", "2026-11-20T00:05:00Z")
    server(csbsctl, "web-01", "2026-11-20T00:10:00Z")
    lines = run(csbsctl, "lab", "2026-11-20T02:00:10Z")
    assert lines[-1]["succeeded"] == 0
    assert [line["stack"] for line in lines if line["event"] == "server.left"] == ["shop"]
    assert run(csbsctl, "shop", "2026-11-20T02:00:20Z")[-1]["succeeded"] == 1
    at = ("--at", "2026-11-20T02:01:00Z")
    first = csbsctl("-C", stack_of(csbsctl, "shop"), *at, "plan")
    assert "also reached by binding.of-lab of stack lab; this stack has it" in " ".join(first.out.split())
    second = csbsctl("-C", stack_of(csbsctl, "lab"), *at, "plan", expect=1)
    assert "is bound by stack shop (binding.of-shop)" in " ".join(second.err.split())
    for stack, severity in (("shop", "warning"), ("lab", "error")):
        drift = csbsctl("-C", stack_of(csbsctl, stack), *at, "drift", "--only", "binding", "--json", expect=2)
        assert severity in {finding["severity"] for finding in drift.json["findings"]}


def test_a_schedule_edited_after_its_slot_runs_when_the_plan_says(csbsctl, stacks):
    stacks("shop", "web-*", "2026-11-20T00:00:00Z")
    server(csbsctl, "web-01", "2026-11-20T00:10:00Z")
    file = csbsctl.folder / "shop" / "csbs.yaml"
    file.write_text(file.read_text().replace("02:00", "01:00"))
    at = ("-C", stack_of(csbsctl, "shop"), "--at", "2026-11-20T01:30:00Z")
    assert "next runs: 2026-11-21 01:00 UTC" in csbsctl(*at, "plan").out
    csbsctl(*at, "apply", "--yes")
    assert run(csbsctl, "shop", "2026-11-20T01:31:00Z")[-1]["succeeded"] == 0
    assert run(csbsctl, "shop", "2026-11-21T01:00:10Z")[-1]["succeeded"] == 1


def test_a_list_of_backups_asks_no_cloud(csbsctl, stacks):
    stacks("shop", "web-*", "2026-11-20T00:00:00Z")
    server(csbsctl, "web-01", "2026-11-20T00:10:00Z")
    run(csbsctl, "shop", "2026-11-20T02:00:10Z")
    here = ("-C", stack_of(csbsctl, "shop"))
    csbsctl(*here, "sim", "fail", "servers", "--times", "100", "--error", "unavailable")
    csbsctl(*here, "server", "list", expect=1)
    for words in ((), ("--server", "web-01"), ("--policy", "gold"), ("--all",)):
        listed = csbsctl(*here, "backup", "list", *words, "--json")
        conforms(listed.json, "backup-list")
        assert len(listed.json) == 1
    assert "autobk_" in csbsctl(*here, "backup", "list").out
