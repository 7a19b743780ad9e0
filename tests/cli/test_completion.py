"""What TAB offers: asked the way bash, zsh and fish ask, and once through a real bash."""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import subprocess
import sys
import time

import pytest

CONFIG = """
version: 1
stack: shop
vault: ./vault
providers:
  default: {type: local, path: ./cloud}
policies:
  gold:
    description: Every night
    schedule: {at: ["02:00"]}
    retention: {count: 5}
  silver: {schedule: {at: ["03:00"]}, retention: {count: 5}}
bindings:
  web: {policy: gold, servers: [web-01]}
"""


@pytest.fixture
def shop(csbsctl, monkeypatch):
    """Return a stack that was applied, with a bound server, another one, and a policy that is declared only."""
    monkeypatch.setenv("CSBSCTL_COMPLETION_PATIENCE", "60")  # the machine may be slow
    applied = CONFIG.replace('  silver: {schedule: {at: ["03:00"]}, retention: {count: 5}}\n', "")
    csbsctl.write(applied)
    csbsctl("sim", "server", "create", "web-01", "--disk", "16M")
    csbsctl("sim", "server", "create", "db-01", "--disk", "16M")
    csbsctl("apply", "--yes")
    csbsctl.write(CONFIG)
    return csbsctl


def offered(csbsctl, *words: str) -> list[str]:
    """Return what bash is told for a line whose last word is being typed."""
    line = ["csbsctl", "-C", str(csbsctl.folder), *words]
    said = csbsctl.apart(
        env={
            "COMP_WORDS": "\n".join(line),
            "COMP_CWORD": str(len(line) - 1),
            "_CSBSCTL_COMPLETE": "complete_bash",
        }
    )
    assert said.err == ""
    return said.out.split()


@pytest.mark.slow
def test_live_names_are_offered_where_they_belong(shop):
    shop("backup", "create", "web-01", "--name", "before")
    assert offered(shop, "policy", "disable", "") == ["gold", "silver"]
    assert offered(shop, "policy", "disable", "si") == ["silver"]
    assert offered(shop, "run", "--policy", "g") == ["gold"]
    assert offered(shop, "backup", "create", "") == ["web-01", "db-01"]
    assert offered(shop, "restore", "be") == ["before"]
    assert offered(shop, "show", "policy.") == ["policy.gold", "policy.silver"]
    assert offered(shop, "import", "") == ["policy.gold", "binding.web"]
    assert offered(shop, "rollback", "") == ["1"]


@pytest.mark.slow
def test_commands_options_and_plugin_commands_are_offered(shop):
    assert offered(shop, "rest") == ["restore"]
    assert offered(shop, "backup", "ver") == ["verify"]
    assert offered(shop, "forecast", "--pol") == ["--policy"]
    assert offered(shop, "export", "git") == ["github", "gitlab"]
    assert "create" in offered(shop, "sim", "server", "cr")


@pytest.mark.slow
def test_zsh_and_fish_are_told_with_a_word_about_each(shop):
    line = f"csbsctl -C {shop.folder} policy show "
    zsh = shop.apart(env={"_CSBSCTL_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": line + "g"})
    assert '"gold":"Every night"' in zsh.out
    fish = shop.apart(
        env={
            "_CSBSCTL_COMPLETE": "complete_fish",
            "_TYPER_COMPLETE_ARGS": line,
            "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        }
    )
    assert fish.out.splitlines()[0] == "gold\tEvery night"


@pytest.mark.parametrize("text", [None, "version: 1\npolicies: {", "version: 1\nvault: s3://"])
def test_an_unfinished_configuration_offers_nothing_and_says_nothing(csbsctl, text):
    if text:
        csbsctl.write(text)
    assert offered(csbsctl, "policy", "disable", "") == []


def test_a_store_that_does_not_answer_is_not_waited_for(csbsctl):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        vault = f"vault: {{url: s3://b/p, endpoint_url: 'http://127.0.0.1:{silent.getsockname()[1]}'}}"
        csbsctl.write(CONFIG.replace("vault: ./vault", vault))
        began = time.monotonic()
        assert offered(csbsctl, "rollback", "") == []
    assert time.monotonic() - began < 60, "as long as a store that does not answer is waited for otherwise"


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
def test_a_real_bash_completes(shop, tmp_path):
    program = tmp_path / "bin" / "csbsctl"
    program.parent.mkdir()
    program.write_text(
        f"#!/bin/sh\nexec {shlex.quote(sys.executable)} -c "
        "'import sys; from csbsctl.cli import main; sys.exit(main())' \"$@\"\n"
    )
    program.chmod(0o755)
    script = """
csbsctl --install-completion >/dev/null
. ~/.bash_completions/csbsctl.sh
complete -p csbsctl
COMP_WORDS=(csbsctl policy disable ""); COMP_CWORD=3
_csbsctl_completion csbsctl
echo "${COMPREPLY[*]}"
"""
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-c", script],
        cwd=shop.folder,
        env={**os.environ, "HOME": str(tmp_path), "PATH": f"{program.parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == ["complete -o default -F _csbsctl_completion csbsctl", "gold silver"]
