"""Drawings of a stack: what stands in them, what is folded, and that no name can break their syntax."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from csbsctl.errors import UsageError
from csbsctl.model.declared import Declared
from csbsctl.model.server import Server, ServerState, Volume
from csbsctl.report.graph import draw, render_graph
from csbsctl.rules.matching import assign

GOLD = {"schedule": {"at": ["02:00"]}, "retention": {"count": 5}}
NASTY = 'a"b\\<script>|;]'


def made(name: str, **more) -> Server:
    volumes = more.pop("volumes", (Volume(f"vol-{name}", "system", 1 << 30, bootable=True),))
    return Server(f"id-{name}", name, "default", ServerState.ACTIVE, volumes, **more)


def drawn(declared: dict, servers: list[Server], **more):
    form = Declared.model_validate(declared)
    inventory = {"default": servers}
    return draw("shop", form, assign(form.bindings, inventory, members={}), inventory, **more)


WEB = {"policies": {"gold": GOLD}, "bindings": {"web": {"policy": "gold", "match": {"name": "*"}}}}


def test_policies_lead_to_bindings_and_bindings_to_servers():
    picture = drawn(WEB, [made("web-01")])
    policy, binding, server = picture.nodes
    assert policy.lines == ("policy.gold", "02:00 UTC")
    assert (binding.lines, server.lines) == (("binding.web", "1 server"), ("web-01",))
    assert [(a.start, a.end) for a in picture.arrows] == [(policy.id, binding.id), (binding.id, server.id)]


def test_servers_past_the_limit_are_folded_into_one_node():
    picture = drawn(WEB, [made(f"web-{n:03}") for n in range(200)], limit=10)
    assert len(picture.nodes) == 2 + 10
    assert picture.nodes[-1].lines == ("and 191 more servers",)


def test_objectives_point_at_bindings_and_at_what_they_leave_out():
    declared = {
        **WEB,
        "bindings": {"web": {"policy": "gold", "servers": ["web-01"]}},
        "objectives": {"all": {"match": {"name": "web-*"}, "rpo": "26h", "protected": "required"}},
    }
    picture = drawn(declared, [made("web-01"), made("web-02")])
    objective = next(node for node in picture.nodes if node.kind == "objective")
    assert objective.lines == ("objective.all", "rpo 26h, protected, 2 servers")
    assert picture.nodes[-1].lines == ("1 server without a policy",)
    assert [a.label for a in picture.arrows if a.dashed] == ["1 server", ""]


def test_what_is_disabled_or_cannot_be_backed_up_looks_different():
    off = {**WEB, "policies": {"gold": {**GOLD, "enabled": False}}}
    shared = made("web-01", volumes=(Volume("v", "shared", 1, shared=True),))
    assert [node.kind for node in drawn(off, [shared]).nodes] == ["off", "binding", "refused"]


@pytest.mark.parametrize("shape", ["dot", "mermaid"])
def test_no_name_breaks_the_syntax(shape):
    text = render_graph(drawn(WEB, [made(NASTY)]), shape)
    if shape == "dot":
        assert 'label="a\\"b\\\\<script>|;]"' in text
        if shutil.which("dot"):
            subprocess.run(["dot", "-Tsvg"], input=text, text=True, check=True, capture_output=True)
    else:
        assert NASTY not in text
        labels = re.findall(r'"(.*?)"', text)
        assert "a#34;b#92;#60;script#62;#124;#59;#93;" in labels


def test_an_unknown_format_is_refused():
    with pytest.raises(UsageError, match="'svg'"):
        render_graph(drawn(WEB, []), "svg")
