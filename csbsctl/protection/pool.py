"""Many servers at once: one pool of threads a cloud, and the boundary at which one server's failure stops.

The only place besides the command line that catches everything: a bug met on one server must not cost the others
their backup. Nothing is swallowed: what was caught is the item's result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Generic, TypeVar

from csbsctl.errors import CsbsError, Interrupted
from csbsctl.protection.site import Site

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Ended(Generic[Item, Result]):
    """How the work on one item ended: with a result or an error."""

    item: Item
    result: Result | None = None
    error: CsbsError | None = None


def each(
    site: Site, items: Mapping[str, Iterable[Item]], action: Callable[[Item], Result]
) -> list[Ended[Item, Result]]:
    """Do something to all items, given by provider, side by side as far as each cloud likes it.

    Items not begun when somebody asks to stop end with Interrupted, those of a cloud that cannot be had with why.
    """
    if len(items) == 1 and (alone := _one_after_the_other(site, items, action)) is not None:
        return alone
    without_cloud: list[Ended[Item, Result]] = []
    with ExitStack() as stack:
        waiting: list[Future[Ended[Item, Result]]] = []
        for provider, of_provider in items.items():
            try:
                parallel = site.provider(provider).capabilities.parallel
            except CsbsError as error:
                without_cloud.extend(Ended(item, error=error) for item in of_provider)
                continue
            pool = stack.enter_context(ThreadPoolExecutor(max(1, parallel), thread_name_prefix=provider))
            waiting.extend(pool.submit(_bounded, site, item, action) for item in of_provider)
        return [*without_cloud, *(future.result() for future in waiting)]


def _one_after_the_other(
    site: Site, items: Mapping[str, Iterable[Item]], action: Callable[[Item], Result]
) -> list[Ended[Item, Result]] | None:
    """Do it in this thread where the one cloud likes one server at a time; None where more is wanted."""
    ((provider, of_provider),) = items.items()
    try:
        if site.provider(provider).capabilities.parallel > 1:
            return None
    except CsbsError as error:
        return [Ended(item, error=error) for item in of_provider]
    return [_bounded(site, item, action) for item in of_provider]


def by_provider(items: Iterable[Item], provider: Callable[[Item], str]) -> dict[str, list[Item]]:
    """Return items grouped by the name of their provider, in order."""
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(provider(item), []).append(item)
    return groups


def _bounded(site: Site, item: Item, action: Callable[[Item], Result]) -> Ended[Item, Result]:
    try:
        site.stop.check()
        return Ended(item, action(item))
    except Interrupted as wish:
        return Ended(item, error=wish)
    except CsbsError as error:
        return Ended(item, error=error)
    except Exception as bug:  # noqa: BLE001 - the boundary: see the module's docstring
        return Ended(item, error=_as_bug(bug))


def _as_bug(bug: Exception) -> CsbsError:
    error = CsbsError(
        f"an error nobody foresaw: {type(bug).__name__}: {bug}",
        code="CSBS.9999",
        hint="please report it as a bug",
    )
    error.__cause__ = bug
    return error
