"""What people get wrong, and exactly what they are told."""

from __future__ import annotations

import os

import pytest

POLICY = "policies:\n  gold:\n    schedule: {at: ['02:00']}\n    retention: {count: 3}\n"
REST = "providers: {default: {type: local}}\n" + POLICY

CASES = {
    "an unquoted time": (
        "policies:\n  gold:\n    schedule:\n      at: [02:00]\n    retention: {count: 1}\n",
        ["4:12 quote it: unquoted 02:00 is a number to YAML 1.1"],
    ),
    "a misspelt section": ("polices: {}\n", ["1:1 unknown key 'polices'"]),
    "a misspelt key": (
        REST.replace("count", "cuont"),
        ["5:17 unknown key 'cuont' in policies.gold.retention"],
    ),
    "a word of YAML 1.1 for a boolean": (
        REST + "    enabled: on\n",
        ["6:14 policies.gold.enabled: expected true or false, got 'on'"],
    ),
    "a duplicate key": (REST + "    retention: {count: 4}\n", ["6:5 'retention' is declared twice"]),
    "a number in quotes": (
        REST.replace("count: 3", "count: '3'"),
        ["5:24 policies.gold.retention.count: expected a whole number, got '3'"],
    ),
    "a number for text": (
        REST + "    tags: {cost: 5}\n",
        ["6:18 policies.gold.tags.cost: expected text, got 5"],
    ),
    "a number that is too small": (
        REST.replace("count: 3", "count: 0"),
        ["5:24 policies.gold.retention.count: expected at least 1, got 0"],
    ),
    "a word that is none of the choices": (
        REST + "    consistency: crush\n",
        ["6:18 policies.gold.consistency: expected none, crash or application, got 'crush'"],
    ),
    "a bad duration": (
        REST.replace("['02:00']", "['02:00'], start_within: soon"),
        ["4:45 policies.gold.schedule.start_within: 'soon' is not a duration: write 30m, 4h, 2d or 1d12h"],
    ),
    "a duration without a unit": (
        REST.replace("['02:00']", "['02:00'], spread: 30"),
        ["4:39 policies.gold.schedule.spread: expected a duration such as 4h or 1d12h, got 30"],
    ),
    "an unknown time zone": (
        REST.replace("['02:00']", "['02:00'], timezone: Asia/Shangai"),
        [
            "4:41 policies.gold.schedule.timezone: 'Asia/Shangai' is not an IANA time zone such as Asia/Shanghai or UTC; did you mean 'Asia/Shanghai'?"
        ],
    ),
    "a retention that says nothing": (
        REST.replace("{count: 3}", "{}"),
        [
            "5:5 policies.gold.retention: retention has no default: give `count`, `days`, long-term rules or `permanent: true`"
        ],
    ),
    "no retention at all": (
        REST.replace("    retention: {count: 3}\n", ""),
        ["3:3 policies.gold needs `retention`"],
    ),
    "an empty policy": ("policies:\n  gold:\n", ["2:3 policies.gold: expected a mapping, got nothing"]),
    "a bad name": (
        REST.replace("gold", "go ld"),
        ["3:3 policies.go ld: 'go ld' is not allowed: names have 1 to 255 letters, digits, _ and -"],
    ),
    "times that are too close": (
        REST.replace("['02:00']", "['00:10', '23:50']"),
        ["4:5 policies.gold.schedule: 23:50 and 00:10 are less than an hour apart"],
    ),
    "an hour that does not exist": (
        REST.replace("['02:00']", "['24:00']"),
        ["4:21 policies.gold.schedule.at[0]: expected a time of day such as \"02:00\", got '24:00'"],
    ),
    "a policy that is not declared": (
        REST + "bindings:\n  web:\n    policy: golf\n    servers: [a]\n",
        ["8:13 binding 'web' names the policy 'golf', which is not declared"],
    ),
    "a provider that is not declared": (
        POLICY + "bindings:\n  web:\n    policy: gold\n    servers: [a]\n",
        ["6:3 binding 'web' names the provider 'default', which is not declared"],
    ),
    "one server instead of a list": (
        REST + "bindings:\n  web:\n    policy: gold\n    servers: web-01\n",
        ["9:14 bindings.web.servers: expected a list, got 'web-01'"],
    ),
    "an empty match": (
        REST + "bindings: {web: {policy: gold, match: {}}}\n",
        [
            "6:32 bindings.web.match: an empty `match` would mean nothing: give name, metadata, tags or availability_zone"
        ],
    ),
    "access rules": (
        REST + "access:\n  - {principal: p, role: operator}\n",
        ["6:1 access rules need the service, which this version does not have"],
    ),
    "a move of what is still there": (
        REST + "moved:\n  - {from: policy.gold, to: policy.gone}\n",
        [
            "7:12 policy.gold is still declared: a move says that it is called policy.gone now",
            "7:29 policy.gone is not declared: a move leads to something that exists",
        ],
    ),
    "a move to another kind": (
        REST + "moved:\n  - {from: binding.web, to: policy.gold}\n",
        ["7:29 a binding cannot become a policy"],
    ),
    "an unquoted expression": (
        REST.replace("count: 3", "count: {{ var.keep }}"),
        ["5:25 a key must be text"],
    ),
    "an expression as a key": (
        REST + "    tags: {'{{ var.a }}': b}\n",
        [
            "6:12 a key cannot be an expression",
            "6:12 policies.gold.tags.{{ var.a }}: '{{ var.a }}' is not allowed: keys of tags have 1 to 36 letters, digits, _ and -",
        ],
    ),
    "a tab": ("policies:\n\tgold: {}\n", ["2:1 YAML does not allow tabs for indentation"]),
    "a list at the top": ("- policies\n", ["1:1 a configuration is a mapping of sections, and this is a list"]),
    "prose": ("Dear all,\nhello\n", ["1:1 a configuration is a mapping of sections, and this is plain text"]),
    "two documents": (REST + "---\nstack: x\n", ["6:1 a second document starts here, and a file holds one"]),
    "an anchor that is not there": ("vault: *nope\n", ["1:8 the anchor &nope is not defined above this line"]),
    "an anchor that contains itself": ("x-a: &a [*a]\n", ["1:10 the anchor &a contains itself"]),
    "a tag": ("vault: !!python/name:os.system x\n", ["1:8 tags such as !!python/name:os.system are not supported"]),
    "a merge of what is no mapping": ("x-a: &a [1]\npolicies: {<<: *a}\n", ["2:16 `<<` merges mappings, and this is none"]),
    "brackets a hundred deep": ("x-a: " + "[" * 100, ["1:69 nested deeper than 64 levels"]),
    "a number of a thousand digits": ("x-a: " + "1" * 1500, ["1:6 the number has too many digits"]),
    "a version of the future": ("version: 2\n", ["1:10 version: expected 1, got 2"]),
    "a vault of another kind": (
        "vault: ftp://host/x\n",
        ["1:8 vault.url: a vault is a folder such as ./vault or s3://bucket/prefix, not ftp://"],
    ),
    "two sources of a key": (
        "vault: {url: ./v, encryption: {key_file: a, passphrase_env: B}}\n",
        ["1:19 vault.encryption: give exactly one of passphrase_env, passphrase_file, key_file and key_command"],
    ),
    "an include that finds nothing": ("include: [none/*.yaml]\n", ["1:11 include 'none/*.yaml' matches no file"]),
    "a provider without a type": ("providers: {a: {path: x}}\n", ["1:13 providers.a needs `type`"]),
    "a list for a section": ("policies: [gold]\n", ["1:1 policies: expected a mapping, got a list"]),
    "latin-1": (b"# caf\xe9\nvault: x\n", ["1:6 byte 0xe9 is not UTF-8"]),
    "UTF-16": ("vault: x\n".encode("utf-16"), ["1:1 the file is UTF-16"]),
    "a control character": ("vault: a\x07b\n", ["1:9 control character U+0007 is not allowed in YAML"]),
}  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), CASES.values(), ids=CASES.keys())
def test_every_mistake_is_named_with_its_place(folder, text, expected):
    assert folder.said(text) == ["csbs.yaml:" + line for line in expected]


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("polices: {}\n", "did you mean 'policies'?"),
        (REST + "    timezone: UTC\n", "`timezone` belongs under `schedule`"),
        (REST + "    enabled: off\n", "write false"),
        (REST.replace("count: 3", "count: '3'"), "leave the quotes out: 3"),
        (REST + "    tags: {cost: 5}\n", 'quote it: "5"'),
        (REST + "    consistency: crush\n", "did you mean 'crash'?"),
        (REST + "bindings: {b: {policy: golf, servers: [a]}}\n", "did you mean 'gold'?"),
        (REST + "bindings: {b: {policy: gold, servers: a}}\n", "write a list: [a]"),
        ("policies:\n\tgold: {}\n", "indent with spaces"),
        ("x-a: [02:00]\n", 'write "02:00"'),
        ("x-a: [2:00]\n", 'write "02:00"'),
        ('version: "1"\n', "leave the quotes out: 1"),
        (REST.replace("count: 3", "count: {{ var.keep }}"), 'an expression must be quoted: "{{ var.name }}"'),
    ],
)  # fmt: skip
def test_hints_say_how_to_mend_it(folder, text, hint):
    assert folder.problems(text)[0].hint == hint


def test_a_problem_shows_the_line_and_a_caret(folder):
    [problem] = folder.problems(REST.replace("count: 3", "count: 0"))
    assert problem.render() == (
        "csbs.yaml:5:24: error: policies.gold.retention.count: expected at least 1, got 0\n"
        "  5 |     retention: {count: 0}\n"
        "    |                        ^"
    )


def test_a_duplicate_shows_where_it_was_first(folder):
    [problem] = folder.problems(REST + "stack: a\nstack: b\n")
    assert [str(place) for place in problem.related] == ["csbs.yaml:6:1"]


def test_a_missing_file_says_how_to_begin(folder):
    [problem] = folder.problems()
    assert problem.summary == "csbs.yaml does not exist"
    assert "csbsctl init" in str(problem.hint)


def test_a_folder_is_not_a_file(folder):
    (folder.path / "csbs.yaml").mkdir()
    assert folder.said() == ["csbs.yaml is a folder, not a file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_permission_is_named(folder):
    folder.write("vault: x\n").chmod(0)
    assert folder.said() == ["cannot read csbs.yaml: Permission denied"]


def test_an_empty_file_declares_nothing(folder):
    loaded = folder.load("# nothing yet\n")
    assert loaded.canonical["policies"] == {}


def test_only_the_first_file_may_include(folder):
    folder.write("include: b.yaml\n", "a.yaml")
    assert folder.said("include: a.yaml\n") == ["a.yaml:1:1 only csbs.yaml may include files"]


def test_a_folder_in_include_gets_advice(folder):
    (folder.path / "conf.d").mkdir()
    [problem] = folder.problems("include: conf.d/\n")
    assert problem.hint == "write conf.d/*.yaml"


def test_aliases_to_aliases_are_counted_before_they_are_expanded(folder):
    lines = ["x-0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"x-{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    assert "expand to millions" in folder.said("\n".join(lines))[0]


def test_aliases_do_not_add_depth_past_the_limit(folder):
    lines = ["x-0: &a0 " + "[" * 20 + "]" * 20]
    lines += [f"x-{n}: &a{n} " + "[" * 20 + f"*a{n - 1}" + "]" * 20 for n in range(1, 9)]
    assert "nested deeper" in folder.said("\n".join(lines))[0]


def test_another_name_of_the_file_is_noticed(folder):
    folder.write("stack: x\n", "csbs.yml")
    assert folder.problems()[0].hint == "there is a csbs.yml: call it csbs.yaml"


def test_of_a_very_long_line_only_what_is_around_the_mistake_is_shown(folder):
    (problem,) = folder.problems(f"{{x-a: {'y' * 9_000}, polices: {'z' * 9_000}}}\n")
    _, line, caret, _ = problem.render().splitlines()
    assert len(line) < 200
    assert line[caret.index("^") :].startswith("polices:")
