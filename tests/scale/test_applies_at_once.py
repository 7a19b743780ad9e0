"""Two clones of one stack applied at once at a thousand bindings: one wins, the other is told to plan again."""

from __future__ import annotations

import json

import pytest

BINDINGS = 1000
ROUNDS = 12


def configuration(count: int) -> str:
    head = ["version: 1", "stack: shop", "vault: ../vault", "providers:"]
    head += ["  default: {type: local, path: ../cloud}", "policies:"]
    policies = [f'  p{n}: {{schedule: {{at: ["02:00"]}}, retention: {{count: {count}}}}}' for n in range(10)]
    bindings = [f"  b{n}: {{policy: p{n % 10}, servers: [s{n}]}}" for n in range(BINDINGS)]
    return "\n".join([*head, *policies, "bindings:", *bindings, ""])


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_of_two_clones_applied_at_once_one_wins_and_the_other_plans_again(csbsctl):
    clones = [csbsctl.folder / name for name in ("one", "other")]
    for clone in clones:
        clone.mkdir()
    servers = csbsctl.folder / "servers.jsonl"
    servers.write_text(
        "".join(json.dumps({"name": f"s{n}", "disks": ["1M"]}) + "\n" for n in range(BINDINGS))
    )
    (clones[0] / "csbs.yaml").write_text(configuration(1))
    csbsctl("-C", str(clones[0]), "sim", "server", "load", str(servers))
    csbsctl("-C", str(clones[0]), "vault", "init")
    clashes, generations = 0, 0
    for number in range(ROUNDS):
        wanted = [configuration(3 * number + n + 1) for n in range(2)]
        for clone, text in zip(clones, wanted, strict=True):
            (clone / "csbs.yaml").write_text(text)
        running = [csbsctl.spawn("-C", str(clone), "apply", "--yes") for clone in clones]
        said = [process.communicate(timeout=120) for process in running]
        codes = [process.returncode for process in running]
        assert sorted(codes) in ([0, 0], [0, 1]), said
        generations += codes.count(0)
        for clone, code, (_, error) in zip(clones, codes, said, strict=True):
            if code:
                clashes += 1
                assert "plan again" in error
                assert "No changes." not in csbsctl("-C", str(clone), "plan").out  # and is not locked out
    history = csbsctl("-C", str(clones[0]), "history", "--json").json
    assert len(history) == generations
    assert clashes
