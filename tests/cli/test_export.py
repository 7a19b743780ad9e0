"""Exported files: held against what reads them, where that can be had, and against what they must say where not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

import pytest
import yaml

from csbsctl.report.export import ConfigFile, Deployment, block, export

LOCAL = """
version: 1
stack: shop
vault: ./vault
providers:
  default: {type: local, path: ./cloud}
policies:
  gold: {schedule: {at: ["02:00"]}, retention: {count: 5}}
bindings:
  web: {policy: gold, match: {name: "web-*"}}
"""
SHARED = """
version: 1
stack: "Shop_{{ var.env }}"
vault:
  url: s3://backups/csbs
  region: "{{ var.token }}"
  encryption: {passphrase_env: VAULT_PASSPHRASE}
variables:
  env: {}
  token: {sensitive: true, default: none}
providers:
  default: {type: openstack, cloud: prod}
policies:
  gold: {schedule: {at: ["02:00"]}, retention: {count: 5}}
"""


def documents(text: str) -> list[dict]:
    return [each for each in yaml.safe_load_all(text) if each]


def exported(csbsctl, *words: str) -> dict[str, str]:
    return csbsctl(*words, "--json").json["files"]


@pytest.fixture
def local(csbsctl):
    csbsctl.write(LOCAL)
    return csbsctl


@pytest.fixture
def shared(csbsctl):
    csbsctl.write(SHARED, "team/csbs.yaml")
    csbsctl.write("env: production\n", "production.vars.yaml")
    subprocess.run(["git", "init", "-q", str(csbsctl.folder)], check=True)
    csbsctl.folder = csbsctl.folder / "team"
    return csbsctl


def vars_of(csbsctl) -> tuple[str, str]:
    return "--var-file", str(csbsctl.folder.parent / "production.vars.yaml")


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
def test_systemd_has_nothing_to_say_against_the_units(local, tmp_path):
    local("export", "systemd", "--out", "units")
    units = sorted((tmp_path / "units").iterdir())
    assert [unit.name for unit in units] == [
        f"csbsctl-shop-{name}" for name in ("drift.service", "drift.timer", "run.service", "run.timer")
    ]
    env = {**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path / 'units'}:"}
    done = subprocess.run(
        ["systemd-analyze", "verify", *map(str, units)], capture_output=True, text=True, check=False, env=env
    )
    ours = [
        line for line in done.stderr.splitlines() if "csbsctl" in line and "is not executable" not in line
    ]
    assert ours == []


def test_units_may_write_to_vault_and_cloud_and_nowhere_else(local):
    service = exported(local, "export", "systemd")["csbsctl-shop-run.service"]
    writable = [line for line in service.splitlines() if line.startswith("ReadWritePaths")]
    assert writable == [f'ReadWritePaths="-{local.folder / name}"' for name in ("cloud", "vault")]
    assert f"WorkingDirectory={local.folder}\n" in service
    assert "ProtectSystem=strict\n" in service
    assert " run\nUser=csbsctl\n" in service


def test_percent_signs_in_paths_are_no_specifiers_of_systemd():
    files = export("systemd", Deployment(stack="a", version="1", absolute="/srv/100%", writable=("/srv/$x",)))
    assert "WorkingDirectory=/srv/100%%\n" in files["csbsctl-a-run.service"]
    assert 'ReadWritePaths="-/srv/$$x"\n' in files["csbsctl-a-run.service"]


@pytest.mark.parametrize(("every", "calendar"), [("5m", "*:0/5"), ("1m", "*:0/1"), ("30m", "*:0/30")])
def test_the_timer_comes_as_often_as_asked(local, every, calendar):
    timer = exported(local, "export", "systemd", "--every", every)["csbsctl-shop-run.timer"]
    assert f"OnCalendar={calendar}\n" in timer
    assert "Persistent=true\n" in timer


def test_cron_jobs_never_overlap_nor_hide_failures(shared, monkeypatch):
    files = exported(shared, *vars_of(shared), "export", "kubernetes", "--every", "10m")
    configmap, run, drift = documents(files["csbsctl-shop-production.yaml"])
    assert configmap["data"]["team-csbs-yaml"] == (shared.folder / "csbs.yaml").read_text()
    for job, command, cron in ((run, "run", "*/10 * * * *"), (drift, "drift", None)):
        assert (job["apiVersion"], job["kind"]) == ("batch/v1", "CronJob")
        assert len(job["metadata"]["name"]) <= 52
        assert job["spec"]["concurrencyPolicy"] == "Forbid"
        assert cron in {None, job["spec"]["schedule"]}
        assert job["spec"]["jobTemplate"]["spec"]["backoffLimit"] == 0
        pod = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        assert (pod["restartPolicy"], pod["securityContext"]["runAsNonRoot"]) == ("Never", True)
        (container,) = pod["containers"]
        assert container["args"] == ["--var-file", "../production.vars.yaml", command]
        assert container["workingDir"] == "/etc/csbsctl/team"
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]} == {"configuration", "tmp", "clouds"}
        items = pod["volumes"][0]["configMap"]["items"]
        assert {item["path"] for item in items} == {"team/csbs.yaml", "production.vars.yaml"}
        assert {item["key"] for item in items} == set(configmap["data"])


def test_pods_are_not_sent_to_a_vault_they_cannot_reach(local):
    assert "object store" in local("export", "kubernetes", expect=1).err


def test_secrets_are_named_and_never_copied(shared):
    words = (*vars_of(shared), "--var", "token=hunter2hunter2")
    for kind in ("github", "gitlab", "atlantis", "systemd", "kubernetes"):
        text = "".join(exported(shared, *words, "export", kind).values())
        assert "hunter2" not in text
        if kind != "atlantis":
            assert "CSBSCTL_VAR_token" in text
            assert "VAULT_PASSPHRASE" in text
            assert "AWS_SECRET_ACCESS_KEY" in text
    shared.write("env: production\ntoken: hunter2hunter2\n", "../production.vars.yaml")
    refused = shared(*vars_of(shared), "export", "kubernetes", expect=1)
    assert "sensitive" in refused.err
    assert "hunter2" not in refused.err


@pytest.mark.parametrize("options", [(), ("--with-run",)])
def test_the_github_workflow_passes_actionlint(shared, options, tmp_path):
    files = exported(shared, *vars_of(shared), "export", "github", *options)
    ((name, text),) = files.items()
    assert name == ".github/workflows/csbsctl-shop-production.yml"
    workflow = yaml.safe_load(text)
    triggers = workflow[True]  # YAML 1.1 reads `on` as true
    assert triggers["pull_request"]["paths"] == ["team/**", "production.vars.yaml", name]
    assert set(workflow["jobs"]) == {"plan", "apply", "drift", *(("run",) if options else ())}
    assert workflow["jobs"]["apply"]["environment"] == "backups-shop-production"
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        for step in job["steps"]:
            assert "${{" not in step.get("run", ""), "expressions in scripts are how workflows are injected"
    if linter := shutil.which("actionlint"):
        path = tmp_path / "workflow.yml"
        path.write_text(text)
        done = subprocess.run([linter, str(path)], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("kind", ["github", "gitlab"])
def test_policy_tests_are_run_before_the_plan_where_there_are_some(local, kind):
    (without,) = exported(local, "export", kind).values()
    assert "csbsctl test" not in without
    local.write("tests: {}", "tests/shop.csbstest.yaml")
    (text,) = exported(local, "export", kind).values()
    job = yaml.safe_load(text)
    if kind == "github":
        steps = [step.get("run", "") for step in job["jobs"]["plan"]["steps"]]
    else:
        job = job["csbsctl-shop-plan"]
        steps = job["script"]
        assert job["artifacts"]["reports"]["junit"] == "shop-test.xml"
    (tested,) = (number for number, step in enumerate(steps) if "csbsctl test" in step)
    (planned,) = (number for number, step in enumerate(steps) if "csbsctl plan" in step)
    assert tested < planned


def test_the_gitlab_report_counts_what_the_plan_does(local, tmp_path):
    (text,) = exported(local, "export", "gitlab").values()
    pipeline = yaml.safe_load(text)
    plan = pipeline["csbsctl-shop-plan"]
    assert plan["artifacts"]["reports"] == {"terraform": "shop-plan.json"}
    assert plan["artifacts"]["when"] == "always"
    assert pipeline["csbsctl-shop-apply"]["rules"][0]["when"] == "manual"
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    changes = [{"change": {"actions": [a]}} for a in ("create", "create", "update", "no-op")]
    document = json.dumps({"resource_changes": changes})
    (bin_ / "csbsctl").write_text(
        f'#!/bin/sh\ncase "$*" in plan*) touch "$PLAN"; exit 4;; *terraform*) echo \'{document}\';; esac\n'
    )
    (bin_ / "csbsctl").chmod(0o755)
    (bin_ / "python").symlink_to(shutil.which("python3") or "/usr/bin/python3")
    done = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", plan["script"][-1]],
        env={
            "PATH": f"{bin_}:{os.environ['PATH']}",
            "PLAN": str(tmp_path / "p"),
            "CI_PROJECT_DIR": str(tmp_path),
        },
        check=False,
    )
    assert done.returncode == 4
    assert json.loads((tmp_path / "shop-plan.json").read_text()) == {"create": 2, "update": 1, "delete": 0}


def test_atlantis_finds_no_plan_to_apply_after_a_refusal(local, tmp_path):
    files = exported(local, "export", "atlantis")
    project = yaml.safe_load(files["atlantis.yaml"])["projects"][0]
    workflow = yaml.safe_load(files["repos.yaml"])["workflows"][project["workflow"]]
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    (bin_ / "csbsctl").write_text(
        '#!/bin/sh\necho "$@"; touch "$PLANFILE"; case "$*" in *fail-on*) exit 4;; esac\n'
    )
    (bin_ / "csbsctl").chmod(0o755)

    def stage(name: str, arguments: str) -> subprocess.CompletedProcess[str]:
        escaped = "".join(c if c == "," else "\\" + c for c in arguments)
        return subprocess.run(
            ["sh", "-c", workflow[name]["steps"][-1]["run"]],
            env={
                "PATH": f"{bin_}:{os.environ['PATH']}",
                "PLANFILE": str(tmp_path / "default.tfplan"),
                "COMMENT_ARGS": escaped,
            },
            capture_output=True,
            text=True,
            check=False,
        )

    assert stage("plan", "").returncode == 4
    assert not (tmp_path / "default.tfplan").exists()
    assert stage("plan", "allow-weakening").returncode == 0
    assert (tmp_path / "default.tfplan").exists()
    assert (
        "--allow weakens --allow max_backups_deleted"
        in stage("apply", "allow=weakens,allow=max_backups_deleted").stdout
    )


def test_files_that_are_there_are_not_written_over(local):
    local("export", "github", "--out", ".")
    local("export", "github", "--out", ".")
    assert "says something else" in local("export", "github", "--out", ".", "--with-run", expect=1).err
    local("export", "github", "--out", ".", "--with-run", "--force")


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (("jenkins",), "systemd, kubernetes"),
        (("github", "--every", "7m"), "5m"),
        (("github", "--fail-on", "x"), "weakens"),
    ],
)
def test_what_cannot_be_exported_says_what_can(local, words, hint):
    assert hint in local("export", *words, expect=1).err


@pytest.mark.parametrize("text", ["a: 1\n", "a: 1", "a: 1\n\n\n", "\n  a: |\n    x\n\n  b\n", "# only\n"])
def test_texts_survive_as_yaml_blocks(text):
    assert yaml.safe_load(f"data:\n  key: {block(text)}\n  next: 1\n")["data"]["key"] == text


def test_odd_stack_names_become_names_that_kubernetes_takes():
    one = ConfigFile("csbs.yaml", "version: 1\n")
    files = export("kubernetes", Deployment(stack="_Shop__EU-1_" + "x" * 99, version="1", files=(one,)))
    name = documents(files[next(iter(files))])[1]["metadata"]["name"]
    assert name.startswith("csbsctl-shop-eu-1-x")
    assert len(name) <= 52
