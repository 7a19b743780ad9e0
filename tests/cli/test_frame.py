"""The frame of the command line: help, version, usage errors, the menu."""

from __future__ import annotations

from importlib import import_module

import pytest

import csbsctl as package
from csbsctl.cli.menu import COMMANDS


def test_version_is_one_line(csbsctl):
    assert csbsctl("--version", expect=None).code in {0, 1}
    assert csbsctl.apart("version", expect=None).code in {0, 1}


def test_version_alone(capsys):
    from csbsctl.cli import main

    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"csbsctl {package.__version__}\n"


def test_help_lists_every_command_in_its_section(csbsctl):
    said = csbsctl("--help")
    for entry in COMMANDS:
        assert f"  {entry.name} " in said.out
        assert f"{entry.section}:" in said.out


@pytest.mark.parametrize("entry", COMMANDS, ids=lambda e: e.name)
def test_every_row_of_the_menu_loads_and_explains_itself(csbsctl, entry):
    module, _, attribute = entry.target.partition(":")
    assert hasattr(import_module(f"csbsctl.cli.{module}"), attribute)
    said = csbsctl(entry.name, "--help")
    assert said.out.startswith("Usage: csbsctl ")


def test_an_unknown_command_is_a_usage_error_with_a_suggestion(csbsctl):
    said = csbsctl("plann", expect=1)
    assert said.err.startswith("Error: No such command 'plann'. Did you mean 'plan'?")
    assert said.out == ""


def test_an_unknown_option_exits_1_and_never_2(csbsctl):
    said = csbsctl("plan", "--detailed-exit", expect=1)
    assert "Error: No such option" in said.err


def test_a_usage_error_is_a_json_document_when_asked(csbsctl):
    said = csbsctl("plan", "--json", "--nonsense", expect=1)
    assert said.json["error"]["code"] == "usage"
    assert set(said.json["error"]) == {"code", "message", "hint", "where"}


def test_a_bad_time_says_how_to_write_one(csbsctl):
    said = csbsctl("--at", "yesterday", "plan", expect=1)
    assert "'yesterday' is not a time" in said.err
    assert "2026-11-22T18:00:00Z" in said.err


def test_a_time_at_the_end_of_calendars_is_refused(csbsctl):
    for time in ("9999-12-31T23:00:00Z", "0001-01-01T00:00:00Z"):
        assert "is too far away" in csbsctl("--at", time, "forecast", expect=1).err


def test_a_missing_directory_is_named(csbsctl):
    said = csbsctl("-C", "/nonexistent", "plan", expect=1)
    assert "/nonexistent is not a directory" in said.err


def test_a_time_at_the_end_of_the_calendar_is_refused_wherever_it_is_given(csbsctl):
    csbsctl.write("version: 1\nproviders: {default: {type: local}}\n")
    csbsctl("vault", "init")
    csbsctl("sim", "server", "create", "web-01", "--disk", "1M")
    words = ("restore", "--server", "web-01", "--as", "copy", "--as-of", "0001-01-01T00:00:00+14:00")
    assert "--as-of: '0001-01-01T00:00:00+14:00' is not a time" in csbsctl(*words, expect=1).err
