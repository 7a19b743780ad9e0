"""A forecast as a chart: stored bytes, backups and recovery point over one axis of time, as an SVG that needs nothing else.

Fits into an HTML page as it is: every style is scoped to its class, and colours follow the reader's scheme.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from html import escape

from csbsctl.engine.prospect import Prospect
from csbsctl.report.forecast_words import age, peak_line, quota_sentence
from csbsctl.units import format_size

WIDTH = 760
_LEFT, _RIGHT, _TOP = 78, 24, 46
_PANEL, _GAP = 116, 40
_LINE = 18

_CSS = """
.csbsctl-forecast { --paper: #ffffff; --ink: #1f2328; --soft: #59636e; --rule: #d1d9e0; --bytes: #0969da;
  --count: #1a7f37; --age: #9a6700; --bad: #b3261e; font: 13px system-ui, sans-serif; }
@media (prefers-color-scheme: dark) { .csbsctl-forecast { --paper: #0d1117; --ink: #e6edf3; --soft: #9198a1;
  --rule: #30363d; --bytes: #58a6ff; --count: #56d364; --age: #e3b341; --bad: #ff8a80; } }
.csbsctl-forecast .paper { fill: var(--paper); }
.csbsctl-forecast text { fill: var(--ink); }
.csbsctl-forecast .soft { fill: var(--soft); font-size: 11px; }
.csbsctl-forecast .head { font-size: 16px; font-weight: 600; }
.csbsctl-forecast .name { font-weight: 600; }
.csbsctl-forecast .bad { fill: var(--bad); font-weight: 600; }
.csbsctl-forecast .rule { stroke: var(--rule); stroke-width: 1; }
.csbsctl-forecast .curve { fill: none; stroke-width: 2; stroke-linejoin: round; }
.csbsctl-forecast .area { opacity: .16; }
""".strip()

Shown = Callable[[float], str]


@dataclass(frozen=True, slots=True)
class _Panel:
    """One quantity over time; None where it has no value."""

    name: str
    color: str
    values: Sequence[float | None]
    steps: Sequence[float]
    shown: Shown
    filled: bool = False


def svg_of(prospect: Prospect) -> str:
    """Return the chart; a sentence in its place where no server is in a policy."""
    panels = _panels(prospect) if prospect.points else []
    foot = [(f"{peak_line(prospect)}.", "")]
    foot += [(f"{quota_sentence(q)}.", "bad" if q.exceeded_on else "") for q in prospect.quotas]
    bottom = _TOP + len(panels) * (_PANEL + _GAP)
    height = bottom + len(foot) * _LINE + 14
    parts = [*_frame(prospect, height)]
    for number, panel in enumerate(panels):
        parts += _drawn(panel, prospect, _TOP + number * (_PANEL + _GAP) + 22)
    for number, (text, style) in enumerate(foot):
        y = bottom + (number + 1) * _LINE
        parts.append(f'<text x="24" y="{y}" class="{style}">{escape(text)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _frame(prospect: Prospect, height: int) -> Iterator[str]:
    title = f"Forecast of {prospect.days} days from {prospect.now:%Y-%m-%d}"
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
        f'height="{height}" role="img" class="csbsctl-forecast" style="max-width: 100%; height: auto">'
    )
    yield f"<title>{title}</title>"
    yield f"<desc>{escape(peak_line(prospect))}.</desc>"
    yield f"<style>\n{_CSS}\n</style>"
    yield f'<rect class="paper" width="{WIDTH}" height="{height}" rx="8"/>'
    yield f'<text x="{_LEFT}" y="28" class="head">{title}</text>'


def _panels(prospect: Prospect) -> list[_Panel]:
    points = prospect.points
    hours = [None if p.recovery_point is None else p.recovery_point / timedelta(hours=1) for p in points]
    stored: list[float | None] = [float(point.stored) for point in points]
    return [
        _Panel("Stored", "bytes", stored, _binary_steps(), format_size, filled=True),
        _Panel(
            "Backups on offer", "count", [p.backups for p in points], _decimal_steps(), lambda v: f"{v:,.0f}"
        ),
        _Panel(
            "Worst recovery point",
            "age",
            hours,
            (0.25, 0.5, 1, 2, 4, 6, 12, 24, 48, 72, *(168.0 * n for n in (1, 2, 4, 8, 16, 32, 64))),
            lambda v: age(timedelta(hours=v)) if v else "0",
        ),
    ]


def _drawn(panel: _Panel, prospect: Prospect, top: float) -> Iterator[str]:
    known = [value for value in panel.values if value is not None]
    step = _step(max(known, default=0), panel.steps)
    ceiling = max(step * 2, -(-max(known, default=0) // step) * step)
    base = top + _PANEL - 22
    yield f'<text x="{_LEFT}" y="{top - 8}" class="name">{panel.name}</text>'
    level = 0.0
    while level <= ceiling:
        y = base - (base - top) * level / ceiling
        yield f'<line class="rule" x1="{_LEFT}" y1="{y:.1f}" x2="{WIDTH - _RIGHT}" y2="{y:.1f}"/>'
        yield f'<text class="soft" x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{escape(panel.shown(level))}</text>'
        level += step
    for run in _runs(panel.values, top, base, ceiling):
        yield from _curve(run, panel, base)
    yield from _dates(prospect, base)


def _curve(run: Sequence[tuple[float, float]], panel: _Panel, base: float) -> Iterator[str]:
    path = " ".join(f"{'L' if n else 'M'}{x:.1f} {y:.1f}" for n, (x, y) in enumerate(run))
    if len(run) == 1:
        path += " h1"  # a single day is a dot
    if panel.filled:
        area = f"{path} L{run[-1][0]:.1f} {base:.1f} L{run[0][0]:.1f} {base:.1f} Z"
        yield f'<path class="area" d="{area}" style="fill: var(--{panel.color})"/>'
    yield f'<path class="curve" d="{path}" style="stroke: var(--{panel.color})"/>'


def _runs(
    values: Sequence[float | None], top: float, base: float, ceiling: float
) -> Iterator[list[tuple[float, float]]]:
    """Yield the stretches of the curve between gaps, as points of the drawing."""
    run: list[tuple[float, float]] = []
    for number, value in enumerate([*values, None]):
        if value is not None:
            run.append((_x(number, len(values)), base - (base - top) * value / ceiling))
        elif run:
            yield run
            run = []


def _dates(prospect: Prospect, base: float) -> Iterator[str]:
    points = prospect.points
    every = max(1, round(len(points) / 6))
    for number in range(0, len(points), every):
        x = _x(number, len(points))
        anchor = "start" if number == 0 else "end" if x > WIDTH - _RIGHT - 30 else "middle"
        yield f'<text class="soft" x="{x:.1f}" y="{base + 15}" text-anchor="{anchor}">{points[number].date}</text>'


def _x(number: int, count: int) -> float:
    return _LEFT + (WIDTH - _LEFT - _RIGHT) * number / max(count - 1, 1)


def _step(highest: float, steps: Sequence[float]) -> float:
    """Return the distance of grid lines that makes two to four of them."""
    return next((step for step in steps if highest <= step * 4), steps[-1])


def _decimal_steps() -> list[float]:
    return [factor * 10.0**power for power in range(9) for factor in (1, 2, 5)]


def _binary_steps() -> list[float]:
    return [
        factor * 1024.0**power for power in range(6) for factor in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
    ]
