"""Measure the provider on the test bed, and print a table: ``measure.py [backup] [together] [inventory]``, all by default.

``backup`` backs up one server of two volumes again and again, ``together`` twenty of them at once (SERVERS): how many
calls csbsctl makes, and what it adds to the time that Cinder takes. ``inventory`` copies the database records of one
server until there are a thousand (RECORDS) and times the listing; the copies stay, so it comes last. Needs
OS_CLIENT_CONFIG_FILE and TESTBED, like the tests: ``make bench-openstack`` starts a cloud for it and stops it again.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from csbsctl.ids import new_id

Row = tuple[str, str]
"""What was measured, and the figure."""
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


def inventory(bench: Any) -> Iterator[Row]:
    """Time the listing of many servers, three times."""
    count = int(os.environ.get("RECORDS", "1000"))
    server = bench.server(2)
    volumes = [volume.id for volume in bench.provider.server(server).volumes]
    Clones(bench.testbed.directory).make(server, volumes, count - 1)
    for turn in range(3):
        bench.provider.cloud.calls.clear()
        begun = time.monotonic(), time.process_time()
        found = list(bench.provider.servers())
        wall, cpu = time.monotonic() - begun[0], time.process_time() - begun[1]
        calls = sum(bench.provider.cloud.calls.values())
        assert len(found) == count
        yield (
            f"{count} servers listed ({turn + 1})",
            f"{wall:.1f} s, of which {cpu:.2f} s of CPU, {calls} calls",
        )


def backup(bench: Any) -> Iterator[Row]:
    """Back up one server: a full, then increments."""
    server, last = bench.server(2), None
    for turn in range(6):
        seconds, (last,), calls = timed(bench, [lambda before=last: bench.back_up(server, before)])
        of_cinder = cinder_seconds(bench, last)
        what = f"2 volumes, {last.volumes[0].kind.value} ({turn + 1})"
        times = f"{seconds:.1f} s, of which Cinder copied {of_cinder:.1f} s"
        yield what, f"{times}; paused {last.evidence['paused_ms'] / 1000:.2f} s; {sum(calls.values())} calls"
    yield "the last one's calls", ", ".join(f"{name} {number}" for name, number in sorted(calls.items()))


def together(bench: Any) -> Iterator[Row]:
    """Back up servers side by side."""
    count = int(os.environ.get("SERVERS", "20"))
    with ThreadPoolExecutor(4) as pool:
        servers = list(pool.map(lambda _: bench.server(2), range(count)))
    seconds, made, calls = timed(bench, [functools.partial(bench.back_up, server) for server in servers])
    copied = sum(cinder_seconds(bench, each) for each in made)
    paused = sorted(each.evidence["paused_ms"] / 1000 for each in made)
    yield (
        f"{count} servers of 2 volumes at once",
        f"{seconds:.1f} s; {sum(calls.values()) / count:.1f} calls each",
    )
    yield "- Cinder's own time, all volumes added up", f"{copied:.1f} s"
    yield "- paused", f"{paused[0]:.2f} to {paused[-1]:.2f} s, median {paused[count // 2]:.2f} s"


def timed(bench: Any, jobs: list[Callable[[], Any]]) -> tuple[float, list[Any], dict[str, int]]:
    """Do all side by side; return the seconds, what they returned, and the calls that were made."""
    bench.provider.cloud.calls.clear()
    begun = time.monotonic()
    with ThreadPoolExecutor(len(jobs)) as pool:
        made = list(pool.map(lambda job: job(), jobs))
    return time.monotonic() - begun, made, dict(bench.provider.cloud.calls)


def cinder_seconds(bench: Any, made: Any) -> float:
    """Return how long Cinder's backups of a server existed before they were whole, by its clock of whole seconds."""
    bodies = [bench.cloud.block_storage.get_backup(stored.ref) for stored in made.volumes]
    spans = [BENCH.instant(body.updated_at) - BENCH.instant(body.created_at) for body in bodies]
    return sum(span.total_seconds() for span in spans)


PARTS = {"backup": backup, "together": together, "inventory": inventory}


def main() -> None:
    """Measure what the command line names, and print each row as soon as it is known."""
    testbed = BENCH.find_testbed()
    bench = BENCH.Bench(testbed, testbed.connect(), BENCH.make_provider())
    with Path("/proc/loadavg").open() as load:
        print(f"| load before: {load.read().split()[0]} | |\n| --- | --- |", flush=True)  # noqa: T201
    for name in [part for part in PARTS if part in (sys.argv[1:] or PARTS)]:
        for what, value in PARTS[name](bench):
            print(f"| {what} | {value} |", flush=True)  # noqa: T201
        if name != "inventory":
            bench.clear()


main()
