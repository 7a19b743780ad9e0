"""A small shop with a cloud of its own, worked through the real command line only."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from csbsctl.cli.main import main

if TYPE_CHECKING:
    from tests.conftest import CommandLine

SCHEMAS = Path(__file__).parents[2] / "schemas"
START = "2026-11-20T00:00:00Z"
CONFIGURATION = """\
version: 1
stack: shop
vault: ./vault
providers:
  default: {type: local, path: ./cloud}
policies:
  gold:
    schedule: {at: ["02:00", "14:00"]}
    retention: {count: 3}
    tags: {team: shop}
  silver:
    schedule: {at: ["03:00"]}
    retention: {days: 2}
    instant_restore: true
bindings:
  web: {policy: gold, match: {metadata: {tier: web}}}
  db: {policy: silver, servers: [db-01]}
"""
CLOUD = (
    "server create web-01 --disk 4M --disk 2M --metadata tier=web",
    "server create web-02 --disk 2M --metadata tier=web",
    "server create db-01 --disk 2M --disk 2M --disk 2M",
    "write web-01:0 --offset 256K --random 700K --seed 1",
    "write web-01:1 --offset 256K --random 700K --seed 2",
    "write db-01:0 --offset 256K --random 700K --seed 3",
    "write db-01:2 --offset 256K --random 700K --seed 4",
)


class Shop:
    """Two web servers and a database in the simulated cloud; ``csbsctl`` is at its folder and its time."""

    def __init__(self, csbsctl: CommandLine) -> None:
        self.csbsctl = csbsctl
        self.folder = csbsctl.folder
        self.at(START)

    def at(self, time: str) -> None:
        """Let every command from now on think it is this time."""
        self.csbsctl.at = time

    def fill(self, disk: str, *, seed: int, size: str = "700K", offset: str = "256K") -> None:
        """Write random bytes through the server."""
        self.csbsctl("sim", "write", disk, "--offset", offset, "--random", size, "--seed", str(seed))

    def digest(self, *disks: str) -> list[str]:
        """Return the digests of disks."""
        return [self.csbsctl("sim", "disk", "sha256", disk).out.split()[0] for disk in disks]

    def disks(self, server: str) -> list[str]:
        """Return the digests of all disks of a server."""
        shown = self.csbsctl("server", "show", server, "--json").json
        return self.digest(*(f"{server}:{number}" for number in range(len(shown["volumes"]))))

    def state(self, server: str) -> str:
        """Return what a server is doing."""
        return str(self.csbsctl("server", "show", server, "--json").json["state"])

    def apply(self) -> Any:
        """Put the configuration in force."""
        return self.csbsctl("apply", "--yes", "--json").json

    def declare(self, text: str) -> None:
        """Write the configuration."""
        self.csbsctl.write(text)

    def backups(self, *words: str) -> list[Any]:
        """Return what ``backup list`` lists."""
        listed: list[Any] = self.csbsctl("backup", "list", *words, "--json").json
        return listed

    def names(self, *words: str) -> list[str]:
        """Return the names of what ``backup list`` lists."""
        return [backup["name"] for backup in self.backups(*words)]

    def run(self, time: str, *, expect: int = 0) -> list[Any]:
        """Make one pass at a time, and return its events."""
        self.at(time)
        return self.csbsctl("run", "--json", expect=expect).lines


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return two folders to copy: a shop where nothing was applied yet, and one whose policies are in force."""
    declared = tmp_path_factory.mktemp("shop")
    (declared / "csbs.yaml").write_text(CONFIGURATION, encoding="utf-8")
    for line in CLOUD:
        _quietly(declared, "sim", *line.split())
    applied = tmp_path_factory.mktemp("open-shop") / "shop"
    shutil.copytree(declared, applied)
    _quietly(applied, "apply", "--yes")
    return {"declared": declared, "applied": applied}


def _quietly(folder: Path, *words: str) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        assert main(["-C", str(folder), "--at", START, *words]) == 0


@pytest.fixture
def shop(prepared: dict[str, Path], csbsctl: CommandLine) -> Shop:
    """Return a shop where nothing has been applied yet."""
    shutil.copytree(prepared["declared"], csbsctl.folder, dirs_exist_ok=True)
    return Shop(csbsctl)


@pytest.fixture
def open_shop(prepared: dict[str, Path], csbsctl: CommandLine) -> Shop:
    """Return a shop whose policies are in force."""
    shutil.copytree(prepared["applied"], csbsctl.folder, dirs_exist_ok=True)
    return Shop(csbsctl)


def conforms(document: Any, name: str) -> None:
    """Hold a document against a schema of ``schemas/``, formats included."""
    schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text(encoding="utf-8"))
    checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
    jsonschema.Draft202012Validator(schema, format_checker=checker).validate(document)
