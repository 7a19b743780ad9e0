"""A small shop with a cloud of its own, worked through the real command line only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

if TYPE_CHECKING:
    from tests.conftest import CommandLine

SCHEMAS = Path(__file__).parents[2] / "schemas"
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


class Shop:
    """Two web servers and a database in the simulated cloud; ``csbsctl`` is at its folder and its time."""

    def __init__(self, csbsctl: CommandLine) -> None:
        self.csbsctl = csbsctl
        self.at("2026-11-20T00:00:00Z")
        csbsctl.write(CONFIGURATION)
        csbsctl("sim", "server", "create", "web-01", "--disk", "4M", "--disk", "2M", "--metadata", "tier=web")
        csbsctl("sim", "server", "create", "web-02", "--disk", "2M", "--metadata", "tier=web")
        csbsctl("sim", "server", "create", "db-01", "--disk", "2M", "--disk", "2M", "--disk", "2M")
        self.fill("web-01:0", seed=1)
        self.fill("web-01:1", seed=2)
        self.fill("db-01:0", seed=3)
        self.fill("db-01:2", seed=4)

    def at(self, time: str) -> None:
        """Let every command from now on think it is this time."""
        self.csbsctl.at = time

    def fill(self, disk: str, *, seed: int, size: str = "700K", offset: str = "256K") -> None:
        """Write random bytes through the server."""
        self.csbsctl("sim", "write", disk, "--offset", offset, "--random", size, "--seed", str(seed))

    def digest(self, *disks: str) -> list[str]:
        """Return the digests of disks."""
        return [self.csbsctl("sim", "disk", "sha256", disk).out.split()[0] for disk in disks]

    def apply(self) -> Any:
        """Put the configuration in force."""
        return self.csbsctl("apply", "--yes", "--json").json

    def backups(self, *words: str) -> list[Any]:
        """Return what ``backup list`` lists."""
        listed: list[Any] = self.csbsctl("backup", "list", *words, "--json").json
        return listed

    def run(self, time: str, *, expect: int = 0) -> list[Any]:
        """Make one pass at a time, and return its events."""
        self.at(time)
        return self.csbsctl("run", "--json", expect=expect).lines


@pytest.fixture
def shop(csbsctl: CommandLine) -> Shop:
    """Return a shop where nothing has been applied yet."""
    return Shop(csbsctl)


@pytest.fixture
def open_shop(shop: Shop) -> Shop:
    """Return a shop whose policies are in force."""
    shop.apply()
    return shop


def conforms(document: Any, name: str) -> None:
    """Hold a document against a schema of ``schemas/``, formats included."""
    schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text())
    checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
    jsonschema.Draft202012Validator(schema, format_checker=checker).validate(document)


@pytest.fixture
def holds() -> Any:
    """Return the function that holds a document against the schema of a name."""
    return conforms
