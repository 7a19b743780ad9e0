"""One server of a run meets a full quota in the middle, the other goes on."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.openstack, pytest.mark.timeout(2400), pytest.mark.filterwarnings("ignore")]


def test_a_run_goes_on_with_the_others_when_the_cloud_refuses_in_the_middle_of_one(shop, bench, another_type):
    volumes = [bench.volume("t-web-0", bootable=True), bench.volume("t-web-1", kind=another_type)]
    refused = bench.boot("t-web", volumes, metadata={"tier": "web"})
    other = bench.server(1, name="t-other", metadata={"tier": "web"})
    admin = bench.testbed.connect("admin").block_storage
    quotas = f"/os-quota-sets/{bench.cloud.current_project_id}"
    answer = admin.put(quotas, json={"quota_set": {f"gigabytes_{another_type}": 1}})
    assert answer.status_code == 200, answer.text

    shop.settings = {
        "snapshots_count_gigabytes": False
    }  # so that it is not asked before, as if used up just now
    slot = shop.apply()
    shop.until(slot)
    said = shop.run("run", exits=3)

    assert "HTTP 413" in said
    assert "1 backed up" in said
    by_server = {backup["server"]["id"]: backup for backup in shop.json("backup", "list", "--all")}
    assert by_server[other]["state"] == "available"
    assert refused not in by_server or by_server[refused]["state"] == "error"
    assert [bench.status(server) for server in (refused, other)] == ["ACTIVE", "ACTIVE"]
    shop.is_clean()

    admin.put(quotas, json={"quota_set": {f"gigabytes_{another_type}": -1}})
    assert "2 backed up" in shop.run("policy", "run", "nightly")
    shop.is_clean()
