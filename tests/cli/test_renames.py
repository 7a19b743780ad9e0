"""A policy that is renamed with ``moved:`` keeps its backups, its rhythm and its retention."""

from __future__ import annotations

CONFIG = """\
version: 1
providers: {{default: {{type: local}}}}
policies:
  {name}: {{schedule: {{at: ["02:00"]}}, retention: {{count: 2}}}}
bindings:
  all: {{policy: {name}, servers: [web-01]}}
{more}
"""


def test_a_renamed_policy_goes_on_where_it_was(csbsctl):
    csbsctl.at = "2026-11-20T12:00:00Z"
    csbsctl.write(CONFIG.format(name="gold", more=""))
    csbsctl("sim", "server", "create", "web-01", "--disk", "1M")
    csbsctl("apply", "--yes")
    for day in (21, 22):
        csbsctl.at = f"2026-11-{day}T02:05:00Z"
        assert csbsctl("run", "--json").lines[-1]["succeeded"] == 1

    csbsctl.write(CONFIG.format(name="platinum", more="moved: [{from: policy.gold, to: policy.platinum}]"))
    csbsctl.at = "2026-11-22T12:00:00Z"
    csbsctl("apply", "--yes")
    summary = csbsctl("run", "--json").lines[-1]
    assert (summary["succeeded"], summary["missed"], summary["deleted"]) == (0, 0, 0)
    backups = csbsctl("backup", "list", "--json").json
    assert [backup["policy"] for backup in backups] == ["platinum", "platinum"]
    assert csbsctl("policy", "list", "--json").json[0]["last_run"].startswith("2026-11-22T02:05")
    csbsctl("drift")

    csbsctl.at = "2026-11-23T02:05:00Z"
    summary = csbsctl("run", "--json").lines[-1]
    assert (summary["succeeded"], summary["deleted"]) == (1, 1)
    assert len(csbsctl("backup", "list", "--json").json) == 2


def test_a_server_built_anew_under_its_name_missed_nothing_before_it_was_built(csbsctl):
    csbsctl.at = "2026-11-20T12:00:00Z"
    csbsctl.write(CONFIG.format(name="gold", more=""))
    csbsctl("sim", "server", "create", "web-01", "--disk", "1M")
    csbsctl("apply", "--yes")
    csbsctl.at = "2026-11-21T02:05:00Z"
    csbsctl("run")
    csbsctl("sim", "server", "delete", "web-01")
    csbsctl.at = "2026-11-22T12:00:00Z"
    csbsctl("restore", "--server", "web-01", "--as", "web-01")
    csbsctl.at = "2026-11-23T02:05:00Z"
    summary = csbsctl("run", "--json").lines[-1]
    assert (summary["succeeded"], summary["missed"]) == (1, 0)
    csbsctl("drift", "--only", "missed")
