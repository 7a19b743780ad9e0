"""``graph``: the stack as a drawing."""

from __future__ import annotations

from typing import Annotated

import typer

from csbsctl.cli.command import command
from csbsctl.cli.session import Session
from csbsctl.model.control import ControlDocument

app = typer.Typer()


@command(
    app,
    examples=[
        "csbsctl graph | dot -Tsvg > stack.svg",
        "csbsctl graph --format mermaid   # for a README or a merge request",
    ],
)
def graph(
    session: Session,
    format: Annotated[str, typer.Option("--format", help="dot or mermaid.")] = "dot",
    limit: Annotated[
        int, typer.Option(help="Servers of one binding that are drawn before the rest is folded.", min=1)
    ] = 10,
) -> None:
    """Draw policies, bindings, the servers they reach now, and objectives, as declared."""
    from csbsctl.report.graph import draw, render_graph
    from csbsctl.rules.matching import assign

    declared, inventory = session.configuration.declared, session.inventory()
    vault = session.vault_if_any()
    document = vault.control.head() if vault else ControlDocument(generation=0)
    state = document.stacks.get(session.stack)
    assignment = assign(declared.bindings, inventory, members=state.members if state else {})
    drawing = draw(session.stack, declared, assignment, inventory, limit=limit)
    for problem in assignment.problems:
        session.out.note(f"Warning: {problem.address}: {problem.message}")
    text = render_graph(drawing, format)
    session.result(
        {
            "format": format,
            "stack": session.stack,
            "nodes": [{"id": n.id, "kind": n.kind, "lines": list(n.lines)} for n in drawing.nodes],
            "edges": [{"from": a.start, "to": a.end, "label": a.label} for a in drawing.arrows],
            "drawing": text,
        }
    )
    if not session.as_json:
        session.out.raw(text)
