"""The story the demo tells: declare, protect for a fortnight, four disasters, drift. Every act checks what it claims."""

from __future__ import annotations

from typing import Any

from csbsctl.cli.demo.disks import digest, filesystem_is_clean, make_image
from csbsctl.cli.demo.stage import Stage

CONFIG = """\
# What this demo declares. Change it and try: csbsctl plan
version: 1
stack: shop
vault: ./vault

providers:
  default: {type: local, path: ./cloud}

policies:
  gold:
    description: Production, twice a day
    schedule: {at: ["02:00", "14:00"], timezone: UTC}
    retention: {count: 14, daily: 10, weekly: 4}
    instant_restore: true
    tags: {team: shop}

bindings:
  shop-web:
    policy: gold
    match: {metadata: {tier: web}}
  shop-db:
    policy: gold
    servers: [db-01]

objectives:
  production: {match: {metadata: {tier: web}}, rpo: 26h, protected: required}
"""


SERVERS = 3


def tell(stage: Stage) -> list[str]:
    """Tell the whole story and return the claims that were checked."""
    _set_up(stage)
    _declare(stage)
    _protect_for_a_fortnight(stage)
    _intrusion(stage)
    _deletion(stage)
    _bad_update(stage)
    _crashed_server(stage)
    _drift(stage)
    _prove(stage)
    _what_next(stage)
    return stage.checks


def _set_up(stage: Stage) -> None:
    stage.act("A small cloud")
    images = stage.folder / "images"
    images.mkdir()
    holds = make_image(images / "web.img", "96M", seed=1)
    stage.tell(
        f"Two web servers whose system disks hold {holds}, and a database that writes across two disks."
    )
    for name, tier in (("web-01", "web"), ("web-02", "web"), ("db-01", "db")):
        stage.run(
            "sim", "server", "create", name, "--disk", "96M", "--disk", "64M", "--metadata", f"tier={tier}"
        )
        if tier == "web":
            stage.run("sim", "disk", "import", f"{name}:0", str(images / "web.img"), show=False)
    stage.run("sim", "workload", "db-01", "--records", "500", show=False)


def _declare(stage: Stage) -> None:
    stage.act("Declare, plan, apply")
    (stage.folder / "csbs.yaml").write_text(CONFIG)
    stage.run("validate")
    stage.run("plan")
    stage.run("apply", "--yes", last=4)
    again = stage.run("plan")
    stage.claim("after an apply, a plan is empty", holds="No changes." in again)


def _protect_for_a_fortnight(stage: Stage) -> None:
    stage.act("A fortnight of backups, twice a day, in virtual time")
    stage.tell("Servers keep writing in between; only what changed is stored.")
    slots = 0
    stage.wait(hours=6, minutes=5)
    for slot in range(28):
        stage.run(
            "sim",
            "write",
            "web-01:1",
            "--offset",
            f"{slot}M",
            "--random",
            "512K",
            "--seed",
            str(slot),
            show=False,
        )
        stage.run("sim", "workload", "db-01", "--records", "100", show=False)
        stage.run("run", show=slot in (0, 27))
        if slot == 0:
            first = stage.ask("backup", "list")
        slots += 1
        stage.wait(hours=12)
    stage.wait(hours=-11)
    backups = stage.ask("backup", "list", "--all")
    full = {backup["id"] for backup in first}
    later = [backup for backup in backups if backup["id"] not in full]
    stage.run("backup", "list", "--server", "web-01")
    stage.claim(f"each of {slots} slots was served", holds=_slots_served(stage, slots))
    stage.claim("the first backup of each server was full", holds=_kinds(first) == ["full"] * SERVERS)
    stage.claim("every later one was incremental", holds=set(_kinds(later)) == {"incremental"})
    whole, stored = sum(b["size"] for b in backups), sum(b["stored"] for b in backups)
    stage.tell(f"{len(backups)} restore points of {whole >> 20} MiB in all; stored: {stored >> 20} MiB.")
    stage.run("status")


def _kinds(backups: list[dict[str, Any]]) -> list[str]:
    return [backup["kind"] for backup in backups]


def _slots_served(stage: Stage, slots: int) -> bool:
    jobs = [
        job for job in stage.ask("job", "list") if job["kind"] == "backup" and job["state"] == "succeeded"
    ]
    return len(jobs) == slots * SERVERS


def _intrusion(stage: Stage) -> None:
    stage.act("Disaster 1: intrusion. Ransomware encrypts web-01")
    before = _digests(stage, "web-01", disks=2)
    stage.run("backup", "create", "web-01", "--name", "before-the-attack")
    stage.run("sim", "attack", "web-01", "--seed", "666")
    stage.claim("its disks are garbage", holds=_digests(stage, "web-01", disks=2) != before)
    stage.run("restore", "before-the-attack", "--in-place", "--yes")
    stage.claim("every byte of both disks is back", holds=_digests(stage, "web-01", disks=2) == before)
    _claim_clean(stage, "web-01:0")


def _deletion(stage: Stage) -> None:
    stage.act("Disaster 2: deletion. Somebody deletes db-01, disks and all")
    stage.run("sim", "server", "stop", "db-01", show=False)
    stage.run("backup", "create", "db-01", "--name", "nightly-export", show=False)
    before = _digests(stage, "db-01", disks=2)
    stage.run("sim", "server", "delete", "db-01")
    stage.run("restore", "--server", "db-01", "--as", "db-01")
    stage.claim("a new server holds the same bytes", holds=_digests(stage, "db-01", disks=2) == before)
    stage.claim(
        "what the database wrote is there in order, without a hole",
        holds="prefix 1.." in stage.run("sim", "check", "db-01"),
    )


def _bad_update(stage: Stage) -> None:
    stage.act("Disaster 3: a bad update scribbles over web-02, noticed a day later")
    before = _digests(stage, "web-02", disks=2)
    good = stage.now
    stage.wait(hours=2)
    stage.run("sim", "write", "web-02:0", "--offset", "4M", "--random", "20M", "--seed", "9", show=False)
    for _ in range(2):
        stage.wait(hours=12)
        stage.run("run", show=False)
    stage.run("restore", "--server", "web-02", "--as-of", good.isoformat(), "--in-place", "--dry-run")
    stage.run("restore", "--server", "web-02", "--as-of", good.isoformat(), "--in-place", "--yes")
    stage.claim("web-02 is as it was before the update", holds=_digests(stage, "web-02", disks=2) == before)
    _claim_clean(stage, "web-02:0")


def _crashed_server(stage: Stage) -> None:
    stage.act("Disaster 4: the host of web-01 dies; customers wait")
    stage.run("backup", "create", "web-01", "--name", "last-known-good", show=False)
    before = _digests(stage, "web-01", disks=2)
    stage.run("restore", "--server", "web-01", "--as", "web-01b", "--instant")
    stage.claim(
        "instant restore: readable at once, and all of it is right",
        holds=_digests(stage, "web-01b", disks=2) == before,
    )
    stage.run("image", "create", "last-known-good", "--name", "golden-web")
    image = stage.ask("image", "list")[0]["id"]
    stage.run("sim", "server", "create", "web-03", "--image", image, "--metadata", "tier=web")
    stage.claim(
        "a server booted from the image holds the same bytes",
        holds=_digests(stage, "web-03", disks=2) == before,
    )
    refused = stage.run("backup", "delete", "last-known-good", "--yes", expect=1)
    stage.claim("a backup that has an image cannot be deleted", holds="CSBS.8007" in refused)


def _drift(stage: Stage) -> None:
    stage.act("Somebody switches the policy off by hand")
    stage.run("policy", "disable", "gold")
    said = stage.run("drift", expect=2)
    stage.claim("drift finds the live edit", holds="policy.gold" in said)
    stage.run("apply", "--yes", last=4)
    stage.run("drift", "--only", "config")


def _prove(stage: Stage) -> None:
    stage.act("Prove it")
    verified = stage.ask("backup", "verify", "--all")
    stage.claim(
        f"every stored byte of {verified['verified']} backups is authentic",
        holds=verified["verified"] > 0 and verified["damaged"] == 0,
    )
    stage.claim("the audit trail is whole", holds=stage.ask("audit", "verify")["whole"])


def _what_next(stage: Stage) -> None:
    stage.act("Try next")
    stage.out.say(f"  cd {stage.folder}")
    for line in (
        "edit csbs.yaml: count: 14 -> 3, then  csbsctl plan      # what that would cost",
        "csbsctl history                                       # who changed what",
        "csbsctl restore --server web-02 --in-place --dry-run  # a restore's plan",
        "csbsctl sim attack web-02 --seed 1                    # your turn",
    ):
        stage.out.say(f"  {line}")


def _digests(stage: Stage, server: str, *, disks: int) -> list[str]:
    return [stage.ask("sim", "disk", "sha256", f"{server}:{n}")["sha256"] for n in range(disks)]


def _claim_clean(stage: Stage, disk: str) -> None:
    exported = stage.folder / "images" / "exported.img"
    exported.unlink(missing_ok=True)
    stage.run("sim", "disk", "export", disk, str(exported), show=False)
    clean = filesystem_is_clean(exported)
    same = digest(exported)
    exported.unlink()
    if clean is None:
        stage.tell(f"No e2fsck here; the digest of {disk} is {same[:16]}.")
    else:
        stage.claim(f"e2fsck finds the file system on {disk} clean", holds=clean)
