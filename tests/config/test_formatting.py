from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csbsctl.config.formatting import format_text
from csbsctl.config.source import Source
from csbsctl.config.starter import starter
from csbsctl.config.tree import parse
from csbsctl.errors import ConfigError

REPOSITORY = Path(__file__).parents[2]
MESSY = """\
\ufeff# top   \r
version:   1


policies:
    gold:   # the best
        schedule:
            at:
            # nightly
            - "02:00"
            - '14:00'
            # - "18:00"
        # how long
        retention: {count: 3,   days:  4}
        description: >
            long\x20\x20

            text
x-a: &a
   k: v
y: *a
"""
TIDY = """\
# top
version: 1

policies:
  gold:     # the best
    schedule:
      at:
        # nightly
        - "02:00"
        - '14:00'
        # - "18:00"
    # how long
    retention: {count: 3, days: 4}
    description: >
      long\x20\x20

      text
x-a: &a
  k: v
y: *a
"""


def value(text):
    tree = parse(Source(Path("x"), "x", text.removeprefix("\ufeff")))
    assert tree.problems == []
    return tree.value


def test_indentation_and_blanks_become_canonical_and_comments_stay_with_their_lines():
    assert format_text(MESSY) == TIDY


def test_what_is_canonical_stays_as_it_is():
    assert format_text(TIDY) == TIDY
    for provider in ("local", "openstack"):
        assert format_text(starter(provider)) == starter(provider)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "path", sorted((REPOSITORY / "examples").rglob("*.yaml")), ids=lambda path: path.name
)
def test_the_examples_are_canonical(path):
    text = path.read_text(encoding="utf-8")
    assert format_text(text) == text


def test_nothing_but_comments_is_kept():
    assert format_text("\n\n# only this  \n\n\n") == "# only this\n"
    assert format_text("") == ""


def test_text_that_is_not_yaml_is_refused_with_its_place():
    with pytest.raises(ConfigError) as raised:
        format_text("a: [\n", shown="conf.d/a.yaml")
    assert str(raised.value.diagnostics[0].place) == "conf.d/a.yaml:2:1"


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"])),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("abcdef-_ #:", min_size=1), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None)
@given(
    data=st.dictionaries(st.text("abc", min_size=1), VALUES, max_size=4),
    indent=st.integers(2, 7),
    flow=st.booleans(),
)
def test_formatting_keeps_the_meaning_and_settles_at_once(data, indent, flow):
    import yaml

    text = "# first\n" + yaml.safe_dump(
        data, indent=indent, default_flow_style=None if flow else False, allow_unicode=True
    )
    tree = parse(Source(Path("x"), "x", text))
    if tree.problems:  # PyYAML leaves some text plain that means something else here
        return
    formatted = format_text(text)
    assert value(formatted) == tree.value
    assert format_text(formatted) == formatted
    assert formatted.startswith("# first\n")
