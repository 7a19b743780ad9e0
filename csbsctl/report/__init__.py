"""Plans, drift and history as people and tools want to read them. Reads models; prints and decides nothing."""

from __future__ import annotations

from csbsctl.report.formats import FORMATS, render_drift, render_plan
from csbsctl.report.history import history_json, render_history

__all__ = ["FORMATS", "history_json", "render_drift", "render_history", "render_plan"]
