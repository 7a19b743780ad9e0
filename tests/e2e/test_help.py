"""Help as people read it: every command explains itself, with examples and readable names for what it takes."""

from __future__ import annotations

import re

import pytest
from typer.main import get_command

from csbsctl.cli.main import build_app
from csbsctl.cli.menu import COMMANDS, plugin_groups


def leaves(command, path):
    """Yield every command below one, with the words that call it."""
    below = getattr(command, "commands", None)
    if not below:
        yield command, path
        return
    for name, inner in below.items():
        yield from leaves(inner, [*path, name])


def every_command(names):
    for name in names:
        yield from leaves(get_command(build_app([name])).commands[name], [name])


@pytest.mark.parametrize(
    "words",
    [path for _, path in every_command([*(e.name for e in COMMANDS), *plugin_groups()])],
    ids=" ".join,
)
def test_help_names_what_it_takes(csbsctl, words):
    said = csbsctl(*words, "--help").out
    assert said.startswith(f"Usage: csbsctl {' '.join(words)} ")
    assert not re.search(r"<(str|int|path|float|list|Path)|int range|\]\]|\.\.\.\.|\}\.", said), said
    assert re.search(r"^  [A-Z].*", said, re.MULTILINE)
    assert "xample" in said
    for line in re.findall(r"^  (-\S.*?)  +(.*)$", said, re.MULTILINE):
        assert line[1], said


def test_every_group_lists_its_commands_in_whole_sentences(csbsctl):
    for name in ("backup", "policy", "vault", "sim", "image", "job", "audit", "server"):
        said = csbsctl(name, "--help").out
        commands = said.partition("Commands:")[2]
        assert commands
        assert "..." not in commands.replace("[:N]", "")


def test_the_steps_one_can_die_at_are_all_listed(csbsctl):
    listed = {step["name"].partition(".")[0] for step in csbsctl.apart("sim", "steps", "--json").json}
    assert {
        "cloud",
        "repository",
        "collect",
        "backup",
        "restore",
        "image",
        "prune",
        "lease",
        "vault",
    } <= listed
