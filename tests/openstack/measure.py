"""Measure the provider on the test bed: ``measure.py inventory [SERVERS]``, ``measure.py backup [SERVERS]``.

``inventory`` copies the database records of one server as often as asked and times the listing. ``backup`` backs up
servers of two volumes at once, and tells what csbsctl adds to the time that Cinder takes, and how many calls it makes.
Needs OS_CLIENT_CONFIG_FILE and TESTBED, like the tests. Prints one JSON document.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from csbsctl.ids import new_id

_SPEC = importlib.util.spec_from_file_location("openstack_bench", Path(__file__).parent / "conftest.py")
assert _SPEC
assert _SPEC.loader
BENCH = importlib.util.module_from_spec(_SPEC)
sys.modules[_SPEC.name] = BENCH
_SPEC.loader.exec_module(BENCH)


class Clones:
    """Copies of one server and its volumes in the services' databases."""

    def __init__(self, directory: Path) -> None:
        self._socket = directory / "run/sql.sock"

    def make(self, server: str, volumes: list[str], count: int) -> None:
        """Insert the records of ``count`` more servers."""
        statements = []
        for _ in range(count):
            names = {server: new_id()} | {volume: new_id() for volume in volumes}
            statements += self._clone("nova_api", "instance_mappings", "instance_uuid", server, names)
            statements += self._clone("nova_cell1", "instances", "uuid", server, names)
            for table in (
                "instance_extra",
                "instance_info_caches",
                "block_device_mapping",
                "instance_system_metadata",
            ):
                statements += self._clone("nova_cell1", table, "instance_uuid", server, names)
            for volume in volumes:
                statements += self._clone("cinder", "volumes", "id", volume, names)
                statements += self._clone("cinder", "volume_attachment", "volume_id", volume, names)
        self._run("\n".join(statements))

    def _clone(self, database: str, table: str, key: str, old: str, names: dict[str, str]) -> list[str]:
        chosen = []
        for column in self._columns(database, table):
            value = f"`{column}`"
            if column == "id" and key != "id":
                value = "uuid()" if table == "volume_attachment" else "null"
            elif (table, column) == ("block_device_mapping", "uuid"):
                value = "uuid()"
            else:
                for before, after in names.items():
                    value = f"replace({value}, '{before}', '{after}')"
            chosen.append((column, value))
        into = ", ".join(f"`{column}`" for column, _ in chosen)
        what = ", ".join(value for _, value in chosen)
        return [
            f"insert into {database}.{table} ({into}) select {what} from {database}.{table} where `{key}` = '{old}';"
        ]

    def _columns(self, database: str, table: str) -> list[str]:
        known = self.__dict__.setdefault("_known", {})
        if (database, table) not in known:
            known[database, table] = self._run(
                "select column_name from information_schema.columns where extra not like '%generated%' and "
                f"table_schema = '{database}' and table_name = '{table}' order by ordinal_position;"
            ).split()
        return known[database, table]

    def _run(self, statements: str) -> str:
        command = ["mariadb", "-uroot", "-N", "-S", str(self._socket)]
        return subprocess.run(command, input=statements, text=True, capture_output=True, check=True).stdout


def inventory(bench: Any, count: int) -> dict[str, Any]:
    """Time the listing of many servers."""
    server = bench.server(2)
    volumes = [volume.id for volume in bench.provider.server(server).volumes]
    Clones(bench.testbed.directory).make(server, volumes, count - 1)
    bench.provider.cloud.calls.clear()
    begun = time.monotonic()
    found = list(bench.provider.servers())
    seconds = time.monotonic() - begun
    return {
        "servers": len(found),
        "volumes": sum(len(each.volumes) for each in found),
        "seconds": round(seconds, 2),
        "calls": dict(bench.provider.cloud.calls),
    }


def backup(bench: Any, count: int) -> dict[str, Any]:
    """Back up servers side by side, and compare with the time Cinder took."""
    with ThreadPoolExecutor(4) as pool:
        servers = list(pool.map(lambda _: bench.server(2), range(count)))
    bench.provider.cloud.calls.clear()
    begun = time.monotonic()
    with ThreadPoolExecutor(count) as pool:
        made = list(pool.map(bench.back_up, servers))
    seconds = time.monotonic() - begun
    calls = dict(sorted(bench.provider.cloud.calls.items()))
    cinder = 0.0
    for each in made:
        for stored in each.volumes:
            body = bench.cloud.block_storage.get_backup(stored.ref)
            cinder += (BENCH.instant(body.updated_at) - BENCH.instant(body.created_at)).total_seconds()
    return {
        "servers": count,
        "seconds": round(seconds, 1),
        "calls_per_backup": round(sum(calls.values()) / count, 1),
        "cinder_seconds_per_volume": round(cinder / count / 2, 1),
        "paused_ms": sorted(each.evidence["paused_ms"] for each in made),
        "spread_ms": sorted(each.evidence["spread_ms"] for each in made),
        "calls": calls,
    }


def main() -> None:
    """Measure what the command line names."""
    what, *numbers = sys.argv[1:]
    testbed = BENCH.find_testbed()
    bench = BENCH.Bench(testbed, testbed.connect(), BENCH.make_provider())
    try:
        measured = {"inventory": inventory, "backup": backup}[what](bench, int(numbers[0]) if numbers else 20)
        print(json.dumps(measured, indent=1))  # noqa: T201
    finally:
        if what == "backup":
            bench.clear()


main()
