"""A stack as a drawing: policies, bindings, servers and objectives, for Graphviz (dot) or Mermaid.

Which binding reaches which server comes resolved; here it only becomes nodes and arrows. Servers past a limit are
folded into one node per binding, or a thousand of them would hide the shape.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from csbsctl.errors import UsageError
from csbsctl.model.declared import Declared
from csbsctl.model.policy import Policy
from csbsctl.model.server import Server
from csbsctl.report.style import plural
from csbsctl.rules.matching import Assignment, matches
from csbsctl.units import format_duration

FORMATS = ("dot", "mermaid")
LIMIT = 10
"""How many servers of one binding are drawn before the rest is folded."""

_COLORS = {
    "policy": ("#ddf4ff", "#0969da"),
    "off": ("#eaeef2", "#59636e"),
    "binding": ("#f6f8fa", "#59636e"),
    "server": ("#dafbe1", "#1a7f37"),
    "refused": ("#fff8c5", "#9a6700"),
    "objective": ("#fbefff", "#8250df"),
    "unprotected": ("#ffebe9", "#b3261e"),
}
"""Kind of node -> fill and line; text is always near black, so that it reads on any page."""

_SHAPES = {"policy": "box", "off": "box", "binding": "cds", "objective": "hexagon"}
_MERMAID = {"policy": ('["', '"]'), "off": ('["', '"]'), "binding": ('>"', '"]'), "objective": ('{{"', '"}}')}


@dataclass(frozen=True, slots=True)
class Node:
    """Something drawn: an identifier of letters and digits, what it says line by line, and its kind."""

    id: str
    lines: tuple[str, ...]
    kind: str


@dataclass(frozen=True, slots=True)
class Arrow:
    """From one node to another, with a word; dashed where it is a demand and not a fact."""

    start: str
    end: str
    label: str = ""
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Drawing:
    """Nodes and arrows of one stack."""

    name: str
    nodes: tuple[Node, ...]
    arrows: tuple[Arrow, ...]


def draw(
    stack: str,
    declared: Declared,
    assignment: Assignment,
    inventory: Mapping[str, Sequence[Server]],
    *,
    limit: int = LIMIT,
) -> Drawing:
    """Return the drawing of a stack whose bindings reach whom the assignment says."""
    artist = _Artist(declared, assignment, limit)
    for name, policy in declared.policies.items():
        artist.add_policy(name, policy)
    for name in declared.bindings:
        artist.add_binding(name)
    servers = [server for group in inventory.values() for server in group]
    for name in declared.objectives:
        artist.add_objective(name, servers)
    return Drawing(stack, tuple(artist.nodes), tuple(artist.arrows))


def render_graph(drawing: Drawing, format: str = "dot") -> str:  # noqa: A002 - the word that the command line uses
    """Return a drawing in one of ``FORMATS``.

    Raises:
        UsageError: there is no such format.
    """
    match format:
        case "dot":
            return "\n".join(_dot(drawing)) + "\n"
        case "mermaid":
            return "\n".join(_mermaid(drawing)) + "\n"
    raise UsageError(f"{format!r} is not a format", hint=f"formats are {', '.join(FORMATS)}")


class _Artist:
    """Collects nodes and arrows; identifiers are numbers by kind, so that no name can break the syntax."""

    def __init__(self, declared: Declared, assignment: Assignment, limit: int) -> None:
        self.nodes: list[Node] = []
        self.arrows: list[Arrow] = []
        self._declared = declared
        self._assignment = assignment
        self._limit = limit
        self._ids: dict[str, str] = {}

    def add_policy(self, name: str, policy: Policy) -> None:
        """Draw a policy with its schedule in a few words."""
        lines = (f"policy.{name}", _times(policy) if policy.enabled else "disabled")
        self._node(f"policy.{name}", lines, "policy" if policy.enabled else "off")

    def add_binding(self, name: str) -> None:
        """Draw a binding, from its policy to its servers."""
        binding = self._declared.bindings[name]
        reached = [bound.server for bound in self._assignment.bound.values() if bound.binding == name]
        reached.sort(key=lambda server: server.name)
        where = "" if binding.provider == "default" else f" of {binding.provider}"
        lines = (f"binding.{name}", plural(len(reached), "server") + where)
        here = self._node(f"binding.{name}", lines, "binding")
        if f"policy.{binding.policy}" in self._ids:
            self.arrows.append(Arrow(self._ids[f"policy.{binding.policy}"], here))
        fits = len(reached) <= self._limit
        for server in reached if fits else reached[: self._limit - 1]:
            refused = server.id in self._assignment.refused
            words = (server.name, "cannot be backed up") if refused else (server.name,)
            there = self._node(f"server {server.id}", words, "refused" if refused else "server")
            self.arrows.append(Arrow(here, there))
        if not fits:
            rest = f"and {plural(len(reached) - self._limit + 1, 'more server', 'more servers')}"
            self.arrows.append(Arrow(here, self._node(f"rest of {name}", (rest,), "server")))

    def add_objective(self, name: str, servers: Sequence[Server]) -> None:
        """Draw an objective, with how many of the servers it is about each binding reaches."""
        objective = self._declared.objectives[name]
        meant = [server for server in servers if matches(objective.match, server)]
        demands = [f"rpo {format_duration(objective.rpo)}"] if objective.rpo else []
        demands += ["protected"] if objective.protected == "required" else []
        here = self._node(
            f"objective.{name}",
            (f"objective.{name}", ", ".join([*demands, plural(len(meant), "server")])),
            "objective",
        )
        by_binding: dict[str, int] = {}
        for server in meant:
            bound = self._assignment.bound.get(server.id)
            key = f"binding.{bound.binding}" if bound else ""
            by_binding[key] = by_binding.get(key, 0) + 1
        left = by_binding.pop("", 0)
        for binding, count in by_binding.items():
            self.arrows.append(Arrow(here, self._ids[binding], plural(count, "server"), dashed=True))
        if left:
            what = f"{plural(left, 'server')} without a policy"
            self.arrows.append(
                Arrow(here, self._node(f"left of {name}", (what,), "unprotected"), dashed=True)
            )

    def _node(self, key: str, lines: tuple[str, ...], kind: str) -> str:
        if key not in self._ids:
            self._ids[key] = f"n{len(self._ids)}"
            self.nodes.append(Node(self._ids[key], lines, kind))
        return self._ids[key]


def _times(policy: Policy) -> str:
    schedule = policy.schedule
    if schedule.rrule:
        return schedule.rrule
    times = list(schedule.at)
    often = ", ".join(times) if len(times) <= 3 else f"{len(times)} times a day"  # noqa: PLR2004 - what fits a box
    return f"{often} {schedule.timezone}"


def _dot(drawing: Drawing) -> Iterator[str]:
    yield f"digraph {_quoted(drawing.name)} {{"
    yield '  graph [rankdir=LR, bgcolor=transparent, fontname="sans-serif"];'
    yield '  node [shape=box, style="filled,rounded", fontname="sans-serif", fontcolor="#1f2328", margin="0.15,0.08"];'
    yield '  edge [color="#59636e", fontcolor="#59636e", fontname="sans-serif", fontsize=10];'
    for node in drawing.nodes:
        fill, line = _COLORS[node.kind]
        shape = f", shape={_SHAPES[node.kind]}" if node.kind in _SHAPES else ""
        label = "\\n".join(_escaped(text) for text in node.lines)
        yield f'  {node.id} [label="{label}", fillcolor="{fill}", color="{line}"{shape}];'
    for arrow in drawing.arrows:
        extras = [f"label={_quoted(arrow.label)}"] if arrow.label else []
        extras += ["style=dashed"] if arrow.dashed else []
        how = f" [{', '.join(extras)}]" if extras else ""
        yield f"  {arrow.start} -> {arrow.end}{how};"
    yield "}"


def _quoted(text: str) -> str:
    return f'"{_escaped(text)}"'


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")


def _mermaid(drawing: Drawing) -> Iterator[str]:
    yield "flowchart LR"
    for node in drawing.nodes:
        opening, closing = _MERMAID.get(node.kind, ('("', '")'))
        label = "<br/>".join(_entities(text) for text in node.lines)
        yield f"  {node.id}{opening}{label}{closing}:::{node.kind}"
    for arrow in drawing.arrows:
        line = "-.->" if arrow.dashed else "-->"
        label = f'|"{_entities(arrow.label)}"|' if arrow.label else ""
        yield f"  {arrow.start} {line}{label} {arrow.end}"
    for kind in sorted({node.kind for node in drawing.nodes}):
        fill, line = _COLORS[kind]
        yield f"  classDef {kind} fill:{fill},stroke:{line},color:#1f2328"


def _entities(text: str) -> str:
    """Return text that cannot end a Mermaid label or become markup: its escapes are ``#name;`` and ``#number;``."""
    return "".join(c if c.isalnum() or c in " .,:-_/+=()" else f"#{ord(c)};" for c in text)
