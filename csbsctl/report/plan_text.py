"""A plan as text, in Terraform's words where it says what Terraform says, so that tools which read those find them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from csbsctl.engine.paths import leaves
from csbsctl.model.plan import Action, Change, ChangeClass, Consequence, Finding, Plan
from csbsctl.report.style import LONG, Style, shortened, shown

HEADLINE = "csbsctl will perform the following actions:"
NO_CHANGES = "No changes. Your infrastructure matches the configuration."
DRIFTED = "Note: Objects have changed outside of csbsctl"

SYMBOLS = {
    Action.CREATE: "+",
    Action.UPDATE: "~",
    Action.DELETE: "-",
    Action.IMPORT: "<",
    Action.NO_OP: " ",
}
PHRASES = {
    Action.CREATE: "will be created",
    Action.UPDATE: "will be updated in-place",
    Action.DELETE: "will be destroyed",
    Action.IMPORT: "will be imported",
    Action.NO_OP: "is unchanged",
}
COLORS = {"+": "green", "~": "yellow", "-": "red", "<": "cyan", " ": "dim"}
CLASS_COLORS = {
    ChangeClass.DESTROYS_DATA: "danger",
    ChangeClass.WEAKENS: "yellow",
    ChangeClass.NEUTRAL: "dim",
    ChangeClass.STRENGTHENS: "green",
}
ALARMING = frozenset(
    {
        "backups-expire",
        "backups-expire-earlier",
        "backups-frozen",
        "loses-protection",
        "objective",
        "out-of-reach",
        "outlook",
    }
)
"""Kinds of consequences that get an exclamation mark."""

DEFAULTS = {
    "enabled": True,
    "schedule.timezone": "UTC",
    "schedule.start_within": "4h",
    "schedule.spread": "0s",
    "consistency": "crash",
    "instant_restore": False,
    "retention.permanent": False,
    "provider": "default",
    "rebind": False,
    "image_backed_root": "refuse",
}
"""What goes without saying in an object that is created."""

_CLASS_COLUMN = 62
_SCREENFUL = 60
_SHOWN_PER_GROUP = 10


def plan_text(plan: Plan, style: Style, *, verbose: bool = False) -> str:
    """Return the whole plan; beyond a screenful only what is dangerous is told in full, unless verbose."""
    lines = [*_changes(plan, style, verbose=verbose), *_drift(plan, style, verbose=verbose)]
    lines += _findings(plan, style, verbose=verbose)
    for note in plan.notes:
        lines += style.wrap(note, "", "  ")
    if plan.notes:
        lines.append("")
    lines.append(style.paint("bold", summary_line(plan)))
    lines += style.wrap(protected_line(plan), "", "")
    return "\n".join(lines) + "\n"


def summary_line(plan: Plan) -> str:
    """Return ``Plan: 1 to add, 1 to change, 1 to destroy.`` or the sentence that there is nothing to do."""
    if plan.empty:
        return NO_CHANGES
    imported = plan.count(Action.IMPORT)
    first = f"{imported} to import, " if imported else ""
    add, change, destroy = (plan.count(a) for a in (Action.CREATE, Action.UPDATE, Action.DELETE))
    return f"Plan: {first}{add} to add, {change} to change, {destroy} to destroy."


def complete_line(plan: Plan) -> str:
    """Return what ``apply`` says at the end, word for word as Terraform does."""
    imported = plan.count(Action.IMPORT)
    first = f"{imported} imported, " if imported else ""
    add, change, destroy = (plan.count(a) for a in (Action.CREATE, Action.UPDATE, Action.DELETE))
    return f"Apply complete! Resources: {first}{add} added, {change} changed, {destroy} destroyed."


def protected_line(plan: Plan) -> str:
    """Return ``Protected: 42 -> 41 of 44 servers. Quota: …``."""
    before, after, servers = plan.protected.before, plan.protected.after, plan.protected.servers
    figures = f"{after}" if before == after else f"{before} -> {after}"
    noun = "server" if servers == 1 else "servers"
    return f"Protected: {figures} of {servers} {noun}." + (f" {plan.quota}" if plan.quota else "")


def heading(change: Change) -> str:
    """Return what happens to an address in one phrase: ``policy.gold will be updated in-place``."""
    if change.action is Action.NO_OP and change.origin:
        return f"{change.origin} has moved to {change.address}"
    return f"{change.address} {PHRASES[change.action]}"


def finding_lines(finding: Finding, style: Style) -> list[str]:
    """Return a finding as ``Warning: address: message`` and what to do about it."""
    word = {"error": "Error", "warning": "Warning"}.get(finding.severity, "Note")
    color = {"Error": "danger", "Warning": "yellow"}.get(word, "cyan")
    first, *rest = style.wrap(f"{word}: {finding.address}: {finding.message}", "", "  ")
    lines = [style.paint(color, f"{word}:") + first.removeprefix(f"{word}:"), *rest]
    if finding.hint:
        lines += style.wrap(finding.hint, "  ", "  ")
    return lines


def _findings(plan: Plan, style: Style, *, verbose: bool) -> Iterator[str]:
    limit = len(plan.findings) if verbose else _SHOWN_PER_GROUP
    for finding in plan.findings[:limit]:
        yield from finding_lines(finding, style)
    if len(plan.findings) > limit:
        yield f"... and {len(plan.findings) - limit:,} more findings: --verbose shows them"
    if plan.findings:
        yield ""


def _changes(plan: Plan, style: Style, *, verbose: bool) -> Iterator[str]:
    if plan.empty:
        return
    yield style.paint("bold", HEADLINE)
    yield ""
    folded = not verbose and _is_long(plan, style)
    told: Counter[tuple[str, Action, ChangeClass]] = Counter()
    for change in plan.changes:
        group = (change.address.partition(".")[0], change.action, change.change_class)
        told[group] += 1
        if folded and told[group] > _SHOWN_PER_GROUP:
            continue
        block = _block(change, style, verbose=verbose)
        yield from block if not folded or _is_dangerous(change) else block[:1]
    if folded:
        yield from _remainder(told, style)
    yield ""


def _remainder(told: Counter[tuple[str, Action, ChangeClass]], style: Style) -> Iterator[str]:
    for (kind, action, change_class), count in told.items():
        if count > _SHOWN_PER_GROUP:
            more = f"{count - _SHOWN_PER_GROUP:,} more of type {kind} {PHRASES[action]}"
            yield _with_class(f"  # ... {more}", change_class, style)
    yield style.paint("dim", "  # folded to fit a screen: --verbose shows everything")


def _is_long(plan: Plan, style: Style) -> bool:
    if len(plan.changes) > _SCREENFUL:
        return True
    return sum(len(_block(change, style, verbose=False)) for change in plan.changes) > _SCREENFUL


def _is_dangerous(change: Change) -> bool:
    return change.change_class.rank >= ChangeClass.WEAKENS.rank


def _block(change: Change, style: Style, *, verbose: bool) -> list[str]:
    symbol = SYMBOLS[change.action]
    lines = [_with_class(f"  # {heading(change)}", change.change_class, style)]
    if change.action is Action.NO_OP:
        return lines
    if change.origin:
        came = "imported from stack" if change.action is Action.IMPORT else "moved from"
        lines.append(f"  # ({came} {change.origin})")
    lines.append(f"  {style.paint(COLORS[symbol], symbol)} {change.address}")
    lines += [_painted(line, style) for line in attribute_lines(change, verbose=verbose)]
    for consequence in change.consequences:
        lines += _consequence(consequence, style)
    return lines


def attribute_lines(change: Change, *, verbose: bool = False) -> Iterator[str]:
    """Yield ``      ~ retention.count = 30 -> 7`` for every attribute that differs, or is new with its object."""
    if change.action is Action.CREATE:
        for path, value in leaves(change.after or {}):
            if verbose or DEFAULTS.get(path) != value:
                yield f"      + {path} = {shown(value) if verbose else shortened(value)}"
    elif change.action in (Action.UPDATE, Action.IMPORT):
        for item in change.paths:
            yield f"      {path_text(item.path, item.before, item.after, verbose=verbose)}"


def path_text(path: str, before: object, after: object, *, verbose: bool = False) -> str:
    """Return ``~ retention.count = 30 -> 7``, ``+ tags.team = "shop"`` or ``- days = 90 -> null``.

    Of long lists only what came and went is told, unless verbose: ``~ servers = 500 -> 501 entries (+ "web-501")``.
    """
    spell = shown if verbose else shortened
    if before is None:
        return f"+ {path} = {spell(after)}"
    if (
        isinstance(before, list)
        and isinstance(after, list)
        and max(len(before), len(after)) > LONG
        and not verbose
    ):
        came = [item for item in after if item not in before]
        went = [item for item in before if item not in after]
        parts = [f"{sign} {spell(items)[1:-1]}" for sign, items in (("+", came), ("-", went)) if items]
        return f"~ {path} = {len(before)} -> {len(after)} entries ({'; '.join(parts) or 'in another order'})"
    symbol = "-" if after is None else "~"
    return f"{symbol} {path} = {spell(before)} -> {spell(after)}"


def _consequence(consequence: Consequence, style: Style) -> list[str]:
    if consequence.kind not in ALARMING:
        return style.wrap(consequence.message, "      ", "        ")
    first, *rest = style.wrap(consequence.message, "      ! ", "        ")
    return [style.paint("red", first), *(style.paint("red", line) for line in rest)]


def _with_class(text: str, change_class: ChangeClass, style: Style) -> str:
    column = _CLASS_COLUMN if style.width is None else min(_CLASS_COLUMN, style.width - len("destroys-data"))
    painted = style.paint(CLASS_COLORS[change_class], change_class.value)
    return f"{style.paint('bold', text)}{' ' * max(column - len(text), 2)}{painted}"


def _painted(line: str, style: Style) -> str:
    symbol = line.lstrip()[:1]
    return style.paint(COLORS[symbol], line) if symbol in "+-~" else line


def _drift(plan: Plan, style: Style, *, verbose: bool) -> Iterator[str]:
    if not plan.drift:
        return
    yield style.paint("cyan", DRIFTED)
    lines = [_painted(line, style) for change in plan.drift for line in drift_lines(change)]
    limit = len(lines) if verbose else _SCREENFUL
    yield from lines[:limit]
    if len(lines) > limit:
        yield f"  ... and {len(lines) - limit:,} more: --verbose shows them"
    yield ""


def drift_lines(change: Change) -> Iterator[str]:
    """Yield ``  ~ policy.gold.enabled = true -> false   (who, generation, when)`` for every changed attribute."""
    origin = f"   ({change.origin})" if change.origin else ""
    if change.action is not Action.UPDATE:
        yield f"  {SYMBOLS[change.action]} {change.address}{origin}"
        return
    for item in change.paths:
        yield f"  {path_text(f'{change.address}.{item.path}', item.before, item.after)}{origin}"
