"""Every example, lived through by the real command line on a simulated cloud: plan, apply, run, nothing left to do.

Examples that name an OpenStack cloud and a bucket get a simulated cloud and a folder instead; all else stays as it is.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"

pytestmark = pytest.mark.slow


@pytest.fixture
def example(csbsctl, monkeypatch):
    """Return a function that copies an example and puts the command line into a folder of the copy."""
    monkeypatch.setenv("CSBSCTL_PASSPHRASE", "correct horse battery staple")
    copy = csbsctl.folder / "examples"
    shutil.copytree(EXAMPLES, copy)
    for path in copy.glob("platform-team/*/csbs.yaml"):
        path.write_text(_at_home(path.read_text()))

    def entered(folder: str):
        csbsctl.folder = copy / folder
        return csbsctl

    return entered


def _at_home(text: str) -> str:
    text = re.sub(r'url: "s3://.*"', "url: ../vault", text)
    text = re.sub(r"\n  (endpoint_url|region): .*", "", text)
    return text.replace('{type: openstack, cloud: "{{ var.cloud }}"}', "{type: local, path: ../cloud}")


def server(csbsctl, name: str, *words: str, options: tuple[str, ...] = ()) -> None:
    csbsctl(*options, "sim", "server", "create", name, "--disk", "16M", *words)


def put_in_force(csbsctl, *options: str) -> str:
    """Plan, apply, and see that nothing is left to do; return the plan."""
    csbsctl(*options, "validate")
    csbsctl(*options, "fmt", "--check")
    planned = csbsctl(*options, "plan", "--detailed-exitcode", expect=2)
    assert "Apply complete!" in csbsctl(*options, "apply", "--yes").out
    assert "No changes." in csbsctl(*options, "plan", "--detailed-exitcode").out
    return planned.out


def backed_up(csbsctl, at: str, *options: str) -> set[tuple[str, str]]:
    """Run at a time and return the servers and policies of the backups made."""
    csbsctl.at = at
    csbsctl(*options, "run")
    listed = csbsctl(*options, "backup", "list", "--json").json
    return {(each["server"]["name"], each["policy"]) for each in listed if each["state"] == "available"}


def test_the_small_team(example):
    shop = example("small-team")
    shop.at = "2026-11-22T12:00:00Z"
    for name in ("web-01", "web-02", "web-canary"):
        server(shop, name, "--metadata", "tier=web")
    server(shop, "db-01")
    assert "Protected: 0 -> 3 of 4 servers." in put_in_force(shop)
    assert backed_up(shop, "2026-11-22T23:05:00Z") == {("db-01", "database")}
    everything = {("db-01", "database"), ("web-01", "nightly"), ("web-02", "nightly")}
    assert backed_up(shop, "2026-11-23T01:45:00Z") == everything
    findings = shop("drift", "--only", "objective", "--only", "unprotected", "--json", expect=2).json[
        "findings"
    ]
    assert all("web-canary" in finding["message"] + finding["address"] for finding in findings)
    assert [p["name"] for p in shop("forecast", "--json").json["policies"]] == ["nightly", "database"]
    assert shop("graph").out.startswith('digraph "shop" {')


def test_the_platform_team_two_stacks_in_one_encrypted_vault(example):
    network = example("platform-team/network")
    network.at = "2026-11-21T12:00:00Z"
    options = ("--var-file", str(network.folder.parent / "production.vars.yaml"))
    server(network, "gw-01", "--metadata", "role=gateway", options=options)
    for name in ("shop-web-01", "shop-db-01"):
        server(network, name, "--metadata", "environment=production", options=options)
    put_in_force(network, *options)
    shop = example("platform-team/shop")
    put_in_force(shop, *options)
    stacks = [each["stack"] for each in shop(*options, "history", "--json").json]
    assert stacks == ["shop-production", "network-production"]
    made = backed_up(shop, "2026-11-22T01:05:00Z", *options)
    assert made == {("shop-web-01", "standard"), ("shop-db-01", "critical")}
    network = example("platform-team/network")
    assert ("gw-01", "gateways") in backed_up(network, "2026-11-22T02:40:00Z", *options)
    assert "No changes." in network(*options, "plan").out


def test_the_monorepo_whose_parts_stand_beside_the_services(example):
    mono = example("monorepo")
    mono.at = "2026-11-22T12:10:00Z"
    server(mono, "checkout-db-01", "--tag", "checkout")
    server(mono, "checkout-web-01", "--tag", "checkout")
    server(mono, "search-01", "--tag", "search")
    assert "Protected: 0 -> 3 of 3 servers." in put_in_force(mono)
    assert backed_up(mono, "2026-11-22T13:05:00Z") == {("checkout-db-01", "checkout-hourly")}
    assert len(backed_up(mono, "2026-11-23T01:05:00Z")) == 3
    kinds = {"systemd", "github", "gitlab", "atlantis"}
    assert all(mono("export", kind, "--json").json["files"] for kind in kinds)


@pytest.mark.parametrize(
    ("folder", "words"),
    [
        ("small-team", ("test",)),
        ("monorepo", ("test", "services")),
        ("platform-team/network", ("test", "--var-file", "../production.vars.yaml")),
        ("platform-team/shop", ("test", "--var-file", "../production.vars.yaml")),
    ],
)
def test_the_policy_tests_of_an_example_pass(example, folder, words):
    csbsctl = example(folder)
    said = csbsctl.apart(*words, expect=None)
    assert said.code == 0, said.out + said.err
