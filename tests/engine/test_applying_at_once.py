"""Several applies at once on one real vault: of one stack one wins, of several stacks all land, nobody is locked out."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from csbsctl.clock import VirtualClock
from csbsctl.engine import Desired, Executor, Planner, Situation
from csbsctl.errors import Stale
from csbsctl.model.declared import Declared
from csbsctl.vault import open_vault

WRITERS = 6
POLICY = {"schedule": {"at": ["02:00"]}, "retention": {"count": 30}}


def race(world, tmp_path, stack_of):
    gate = Barrier(WRITERS)

    def one(number):
        clock = VirtualClock(world.clock.now())
        with open_vault("vault", base=tmp_path, clock=clock, actor=f"writer-{number}") as vault:
            situation = Situation(
                vault.control.head(), {"default": world.servers}, clock.now(), vault.catalogue, vault.id
            )
            declared = {"policies": {f"p{number}": POLICY}}
            wish = Desired.form(stack_of(number), Declared.model_validate(declared).canonical())
            proposal = Planner(situation).plan(wish)
            gate.wait()
            try:
                return Executor(vault.control, clock, f"writer-{number}").apply(proposal).committed
            except Stale:
                return False

    with ThreadPoolExecutor(WRITERS) as pool:
        return list(pool.map(one, range(WRITERS)))


def test_of_applies_of_one_stack_exactly_one_wins(world, tmp_path):
    assert sum(race(world, tmp_path, lambda number: "shop")) == 1
    assert world.vault.control.head().generation == 1


def test_applies_of_several_stacks_all_land(world, tmp_path):
    assert all(race(world, tmp_path, lambda number: f"stack-{number}"))
    head = world.vault.control.head()
    assert head.generation == WRITERS
    assert len(head.stacks) == WRITERS
