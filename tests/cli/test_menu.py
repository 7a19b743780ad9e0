"""Groups of commands that other packages add to the menu."""

from __future__ import annotations

import sys
import zipfile
from importlib.metadata import entry_points

import pytest

from csbsctl.cli.menu import PLUGINS, plugin_groups

LISTED = """\
[console_scripts]
tool = tool.cli:main

[csbsctl.commands]
# a word about it
tape = tape.cli:app
robot=tape.robot:app [arms]

[csbsctl.providers]
tape = tape.provider:Tape
"""


@pytest.fixture
def places(monkeypatch, tmp_path):
    """Two places at the end of the import path, empty."""
    found = [tmp_path / name for name in ("one", "other")]
    for place in found:
        place.mkdir()
    monkeypatch.setattr(sys, "path", [*sys.path, *map(str, found), str(tmp_path / "nowhere")])
    return found


def add_package(place, name, listed):
    (place / f"{name}-1.dist-info").mkdir()
    (place / f"{name}-1.dist-info" / "entry_points.txt").write_text(listed)
    (place / f"{name}-1.dist-info" / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n"
    )


def as_the_library_has_them():
    return {entry.name: entry.value for entry in entry_points(group=PLUGINS)}


def test_groups_are_those_that_the_library_knows(places):
    add_package(places[0], "tape", LISTED)
    add_package(places[1], "other", "[csbsctl.providers]\nother = other:Other\n")
    (places[1] / "bare-1.dist-info").mkdir()
    groups = plugin_groups()
    assert groups["tape"] == "tape.cli:app"
    assert groups["robot"] == "tape.robot:app [arms]"
    assert {"sim", "tape", "robot"} == set(groups)
    assert groups == as_the_library_has_them()


def test_what_stands_first_on_the_path_wins(places):
    add_package(places[0], "tape", "[csbsctl.commands]\ntape = first:app\n")
    add_package(places[1], "tape", "[csbsctl.commands]\ntape = second:app\n")
    assert plugin_groups()["tape"] == "first:app"


def test_a_package_in_an_archive_is_found(places, monkeypatch, tmp_path):
    archive = tmp_path / "tape.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("tape-1.dist-info/entry_points.txt", LISTED)
        file.writestr("tape-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: tape\nVersion: 1\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(archive)])
    assert plugin_groups()["tape"] == "tape.cli:app"
