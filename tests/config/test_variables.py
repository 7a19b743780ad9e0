from __future__ import annotations

from pathlib import Path

import pytest

from csbsctl.config.document import VariableType
from csbsctl.config.variables import convert

TEXT = """\
providers: {default: {type: local}}
variables:
  keep: {type: integer, default: 1}
policies:
  gold:
    schedule: {at: ["02:00"]}
    retention: {count: "{{ var.keep }}"}
"""
SECRET = """\
vault: {url: "s3://b/{{ var.token }}"}
variables:
  token: {sensitive: true}
"""


def kept(loaded):
    return loaded.declared.policies["gold"].retention.count


def test_precedence_is_default_environment_files_in_order_flags_in_order(folder):
    one, two = folder.write("keep: 3\n", "one.yaml"), folder.write("keep: '4'\n", "two.yaml")
    environ = {"CSBSCTL_VAR_keep": "2"}
    assert kept(folder.load(TEXT)) == 1
    assert kept(folder.load(environ=environ)) == 2
    assert kept(folder.load(environ=environ, var_files=[one])) == 3
    assert kept(folder.load(environ=environ, var_files=[one, two])) == 4
    assert kept(folder.load(environ=environ, var_files=[two, one])) == 3
    assert kept(folder.load(environ=environ, var_files=[one], variables=["keep=5", "keep=6"])) == 6


@pytest.mark.parametrize(
    ("given", "kind", "value"),
    [
        ("007", "string", "007"), ("7", "integer", 7), ("7.5", "number", 7.5), ("true", "boolean", True),
        ("[a, 1]", "list", ["a", 1]), ("{a: 1}", "map", {"a": 1}), ("a=b", "string", "a=b"),
    ],
)  # fmt: skip
def test_text_from_outside_is_read_by_the_type(given, kind, value):
    assert convert(given, VariableType(kind), textual=True) == value


@pytest.mark.parametrize(
    ("value", "kind"),
    [("x", "integer"), (True, "integer"), (1.5, "integer"), ("yes", "boolean"), (1, "boolean"), ("a", "list"),
     ([], "map"), (True, "string"), (None, "string"), ("nan", "number"), ("\udc80", "string")],
)  # fmt: skip
def test_what_does_not_fit_is_refused(value, kind):
    with pytest.raises(ValueError, match="got"):
        convert(value, VariableType(kind), textual=isinstance(value, str))


def test_wrong_values_are_named_with_their_origin(folder):
    path = folder.write("\nkeep: many\n", "vars.yaml")
    assert folder.said(TEXT, var_files=[path]) == [
        "vars.yaml:2:7 keep: expected a whole number, got 'many'",
    ]
    assert folder.said(variables=["keep=x"]) == ["--var keep: expected a whole number, got 'x'"]
    assert folder.said(environ={"CSBSCTL_VAR_keep": "x"}) == [
        "CSBSCTL_VAR_keep: expected a whole number, got 'x'"
    ]


def test_a_variable_without_a_value_says_how_to_give_one(folder):
    [problem] = folder.problems(TEXT.replace(", default: 1", ""))
    assert str(problem.place) == "csbs.yaml:3:3"
    assert "--var keep=…" in str(problem.hint)
    assert "CSBSCTL_VAR_keep" in str(problem.hint)


def test_an_unknown_variable_is_an_error_everywhere_but_in_the_environment(folder):
    path = folder.write("kep: 3\n", "vars.yaml")
    [in_file] = folder.problems(TEXT, var_files=[path])
    [flag] = folder.problems(variables=["kep=3"])
    assert (in_file.summary, in_file.hint) == ("variable 'kep' is not declared", "did you mean 'keep'?")
    assert (flag.summary, flag.hint) == (in_file.summary, in_file.hint)
    assert kept(folder.load(environ={"CSBSCTL_VAR_kep": "3"})) == 1


def test_a_flag_needs_a_name_and_a_value(folder):
    assert folder.said(TEXT, variables=["keep"]) == ["--var needs NAME=VALUE"]


def test_a_variable_file_that_is_missing_or_no_mapping_is_named(folder):
    assert folder.said(TEXT, var_files=[Path("none.yaml")]) == ["none.yaml does not exist"]
    assert folder.said(var_files=[folder.write("- a\n", "v.yaml").relative_to(folder.path)]) == [
        "v.yaml:1:1 a variable file is a mapping of names to values"
    ]


def test_a_default_of_null_makes_a_variable_optional(folder):
    text = TEXT.replace("type: integer, default: 1", "default: null").replace("var.keep", "var.keep or 9")
    assert kept(folder.load(text)) == 9


def test_a_bad_declaration_does_not_add_noise_where_it_is_used(folder):
    assert folder.said(TEXT.replace("type: integer", "type: int")) == [
        "csbs.yaml:3:16 variables.keep.type: expected string, integer, number, boolean, list or map, got 'int'"
    ]


def test_sensitive_values_are_collected_with_what_is_made_of_them(folder):
    loaded = folder.load(SECRET, variables=["token=hunter2"])
    assert loaded.vault.url == "s3://b/hunter2"
    assert loaded.sensitive == {"hunter2", "s3://b/hunter2"}
    assert "hunter2" not in loaded.digest


@pytest.mark.parametrize(
    "expression", ["{{ var.token }}", "x{{ var['token'] }}", "{{ var }}", "{{ [var][0].token }}"]
)
def test_sensitive_values_cannot_reach_what_is_stored(folder, expression):
    text = (
        SECRET
        + f'policies: {{p: {{description: "{expression}", schedule: {{at: ["02:00"]}}, retention: {{days: 1}}}}}}\n'
    )
    [problem] = folder.problems(text, variables=["token=hunter2"])
    assert "sensitive variable may only be used" in problem.summary


@pytest.mark.parametrize(
    ("text", "given"),
    [
        ("variables: {token: {sensitive: true, default: hunter2, tpye: string}}\n", []),
        ("variables: {token: {sensitive: true, default: hunter2, type: integer}}\n", []),
        ("variables: {token: {sensitive: true, type: integer}}\n", ["token=hunter2"]),
        ("variables: {token: {sensitive: true, default: [hunter2]}}\n", []),
        ("variables: {token: {sensitive: on, default: hunter2}}\n", []),
        (
            "vault: {url: 'ftp://{{ var.token }}'}\nvariables: {token: {sensitive: true, default: hunter2}}\n",
            [],
        ),
        ("stack: hunter2 !\nvariables: {token: {sensitive: true, default: hunter2}}\n", []),
        ("include: no\nvariables: {token: {sensitive: true, default: hunter2, x: 1}}\n", []),
    ],
)
def test_sensitive_values_are_in_no_diagnostic(folder, text, given):
    for problem in folder.problems(text, variables=given):
        assert "hunter2" not in problem.render()
        assert "hunter2" not in str(problem)


def test_a_variable_file_with_a_secret_of_the_wrong_type_does_not_show_it(folder):
    path = folder.write("token: [hunter2, 'hun\\ter2']\n", "vars.yaml")
    for problem in folder.problems(SECRET, var_files=[path]):
        assert "hunter2" not in problem.render()


def test_a_word_that_only_looks_like_a_secret_is_no_secret(folder):
    text = SECRET.replace("token: {", "env: {default: e}\n  token: {") + 'stack: "{{ var.env }}-token"\n'
    assert folder.load(text, variables=["token=hunter2"]).stack == "e-token"
