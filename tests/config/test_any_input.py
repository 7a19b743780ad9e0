"""Whatever is in the file, loading ends with a configuration or with diagnostics, never otherwise."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from csbsctl.config import load
from csbsctl.config.formatting import format_text
from csbsctl.diagnostics import Diagnostic
from csbsctl.errors import ConfigError

RELAXED = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
SAMPLE = (Path(__file__).parents[2] / "examples" / "platform-team" / "shop" / "csbs.yaml").read_bytes()

WORDS = st.sampled_from(
    [
        "version",
        "stack",
        "vault",
        "include",
        "providers",
        "variables",
        "policies",
        "bindings",
        "objectives",
        "guardrails",
        "access",
        "moved",
        "default",
        "gold",
        "schedule",
        "retention",
        "at",
        "days",
        "count",
        "permanent",
        "match",
        "metadata",
        "tags",
        "servers",
        "policy",
        "provider",
        "from",
        "to",
        "type",
        "sensitive",
        "x-a",
        "on",
        "02:00",
        "{{",
        "{{var.a}}",
        "{%if%}",
        "string",
        "integer",
        "true",
        "1",
        "-1",
        "1.5",
        "~",
        ".nan",
        "2024-01-01",
        "./vault",
        "s3://a/b",
        "mon",
        "4h",
        "*",
        "&",
        "!",
        "<<",
    ]
)
KEYS = WORDS | st.text(max_size=4)
VALUES = st.recursive(
    st.one_of(WORDS, st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=6)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=20,
)


def survives(folder, content: bytes) -> None:
    folder.write(content)
    for problem in problems_of(lambda: load(folder.path, variables=["a=1"], environ={})):
        assert problem.render()


def problems_of(attempt: Callable[[], object]) -> Sequence[Diagnostic]:
    """Return the diagnostics of an attempt that may only fail with some."""
    try:
        attempt()
    except ConfigError as error:
        return error.diagnostics
    return ()


@RELAXED
@given(content=st.binary(max_size=200))
def test_arbitrary_bytes(folder, content):
    survives(folder, content)


@RELAXED
@given(content=st.text("{}[]:,&*!|>'\"%@`#-?\n\t ~<=ab01{%", max_size=80))
def test_arbitrary_punctuation(folder, content):
    survives(folder, content.encode())


@RELAXED
@given(data=st.dictionaries(KEYS, VALUES, max_size=6))
def test_arbitrary_structures(folder, data):
    survives(folder, yaml.safe_dump(data, allow_unicode=True).encode())


def test_a_real_file_with_damage_in_every_place(folder):
    chance = random.Random(20261123)
    for _ in range(300):
        content = bytearray(SAMPLE)
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(content))
            match chance.randrange(3):
                case 0:
                    content[at] = chance.choice(b"{}[]:,&*!|>'\"%#-\n\t 09azAZ\xff\x00")
                case 1:
                    del content[at : at + chance.randint(1, 30)]
                case _:
                    content[at:at] = content[
                        (start := chance.randrange(len(content))) : start + chance.randint(1, 40)
                    ]
        survives(folder, bytes(content))


def test_formatting_damaged_files_only_ever_refuses(folder):
    chance = random.Random(7)
    for _ in range(40):
        content = bytearray(SAMPLE)
        for _ in range(2):
            content[chance.randrange(len(content))] = chance.choice(b"{}[]:,&*!|>'\"%#-\n\t ")
        problems_of(partial(format_text, content.decode()))
