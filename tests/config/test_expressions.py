from __future__ import annotations

import pytest

from csbsctl.config.expressions import ExpressionError, evaluate

VARIABLES = {
    "keep": 30, "env": "prod", "number": "007", "time": "02:00", "names": ["a", "b"], "map": {"items": "x"}, "keys": "k",
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{{ var.keep }}", 30),
        ("{{ var.keep * 2 }}", 60),
        ('{{ var.env ~ "-db" }}', "prod-db"),
        ("{{ var.number }}", "007"),
        ("{{ var.time }}", "02:00"),
        ("x{{ var.keep }}", "x30"),
        ("{{ var.keep }} ", "30 "),
        ("{{ var.names }}", ["a", "b"]),
        ("{{ var.map.items }}", "x"),
        ("{{ var.keys }}", "k"),
        ("{{ var.names | join('-') }}", "a-b"),
        ("{% for name in var.names %}{{ name }};{% endfor %}", "a;b;"),
        ("{% if var.env == 'prod' %}much{% else %}little{% endif %}", "much"),
        ("{{ var.keep > 3 }}", True),
        ("{{ none }}", None),
        ("{{ var.absent | default(4) }}", 4),
        ("{% raw %}{{ x }}{% endraw %}", "{{ x }}"),
    ],
)
def test_expressions_keep_the_type_of_their_result(text, value):
    result = evaluate(text, VARIABLES)
    assert (type(result), result) == (type(value), value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{{ var.kep }}", "no variable 'kep' is declared; did you mean 'keep'?"),
        ("{{ keep }}", "'keep' is undefined; expressions see `var.NAME`"),
        ("{{ [var.absent] }}", "no variable 'absent'"),
        ("{{ var.keep", "bad expression"),
        ("{{ }}", "bad expression"),
        ("{{ 1 / 0 }}", "the expression fails"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{{ var.names.append(1) }}", "unsafe"),
        ("{{ '{:>999999999}'.format(1) }}", "unsafe"),
        ("{{ ''['format'] }}", "unsafe"),
        ("{{ 'x'.center(999999999) }}", "unsafe"),
        ("{{ 9 ** 99999 }}", "too large"),
        ("{{ (9 ** 60) ** 60 }}", "too large"),
        ("{{ 'x' * 999999999 }}", "works on numbers"),
        ("{{ '%999999999d' % 1 }}", "works on numbers"),
        ("{{ range(9999999) }}", "at most 1000"),
        ("{{ range(1000) | join('x' * 100) }}", "works on numbers"),
        (
            "{% for a in range(9) %}{% for b in range(9) %}{% for c in range(9) %}x{% endfor %}{% endfor %}{% endfor %}",
            "nested",
        ),
        ("{% for a in range(1000) %}" + "x" * 100 + "{% endfor %}", "longer than"),
        ("{% set x = 1 %}", "not allowed"),
        ("{% include 'x' %}", "not allowed"),
        ("{% macro f() %}{% endmacro %}", "not allowed"),
        ("{{ var.names | random }}", "No filter"),
        ("{{ lipsum() }}", "undefined"),
        ("{{ range }}", "must give"),
        ("{{ " + "(" * 2000 + "1" + ")" * 2000 + " }}", "nested too deeply"),
        ("{{ " + "-" * 5000 + "1 }}", "nested too deeply"),
        ("{{ '\\ud800' }}", "Unicode"),
        ("{{ 1 }}" + "x" * 20_000, "longer than"),
    ],
)
def test_expressions_that_fail_say_why_in_a_line(text, reason):
    with pytest.raises(ExpressionError, match=r".") as raised:
        evaluate(text, VARIABLES)
    assert reason in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_template_can_never_change_the_structure(folder):
    text = 'variables: {x: {default: "a}, gold: {"}}\nproviders: {d: {type: local, path: "{{ var.x }}"}}\n'
    assert folder.load(text).providers["d"].settings == {"path": "a}, gold: {"}


def test_a_result_is_not_a_template_again(folder):
    text = 'variables: {x: {default: "{% raw %}"}}\n'
    assert folder.said(text)[0].startswith("csbs.yaml:1:26 expressions are not allowed here")
    text = 'variables: {x: {}}\nproviders: {d: {type: local, path: "{{ var.x }}"}}\n'
    loaded = folder.load(text, variables=["x={{ 7 * 7 }}"])
    assert loaded.providers["d"].settings == {"path": "{{ 7 * 7 }}"}


def test_problems_of_expressions_point_at_the_value(folder):
    text = 'providers:\n  d: {type: local, path: "{{ var.nope }}", other: "{{ 1 / 0 }}"}\n'
    assert folder.said(text) == [
        "csbs.yaml:2:26 no variable 'nope' is declared",
        "csbs.yaml:2:51 the expression fails: division by zero",
    ]


def test_a_wrong_type_from_an_expression_is_reported_at_the_expression(folder):
    text = 'variables: {n: {default: x}}\npolicies:\n  p:\n    schedule: {at: ["02:00"]}\n    retention: {count: "{{ var.n }}"}\n'
    assert folder.said(text) == [
        "csbs.yaml:5:24 policies.p.retention.count: expected a whole number, got 'x'"
    ]


def test_jinja_is_not_imported_without_expressions(folder):
    import subprocess
    import sys

    folder.write("stack: plain\n")
    code = (
        "import sys, pathlib; from csbsctl.config import load; load(pathlib.Path(), environ={});"
        "sys.exit('jinja2' in sys.modules or 'ruamel' in sys.modules or 'dateutil' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=folder.path, check=False).returncode == 0


def test_a_value_that_looks_like_a_failed_expression_is_still_reported(folder):
    from csbsctl.config.evaluation import FAILED

    text = 'variables: {x: {}}\nstack: "{{ var.x }}"\n'
    assert len(folder.problems(text, variables=[f"x={FAILED}"])) == 1
    assert len(folder.problems(text, variables=["x={{ }}"])) == 1
