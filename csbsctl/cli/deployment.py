"""What ``export`` finds out about a stack before it writes files: folders, secrets, options, what a run writes to."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import csbsctl
from csbsctl.errors import Refused

if TYPE_CHECKING:
    from csbsctl.cli.session import Session
    from csbsctl.config import Configuration
    from csbsctl.report.export import ConfigFile, Deployment

_VARIABLE = "CSBSCTL_VAR_"


def deployment_of(session: Session, kind: str, **chosen: Any) -> Deployment:
    """Return the deployment of the session's stack; ``chosen`` is what the user said about it.

    Raises:
        Refused: pods cannot reach its vault, or its files hold secrets that would be copied.
    """
    from csbsctl.rehearsal.loading import find
    from csbsctl.report.export import Deployment

    configuration = session.configuration
    root = configuration.root.resolve()
    var_files = [(session.directory / path).resolve() for path in session.options.var_file]
    top = _repository(root) or root
    base = Path(os.path.commonpath([root, *(path.parent for path in var_files)]))
    if kind == "kubernetes" and is_folder(configuration):
        raise Refused(
            f"pods cannot reach the vault {configuration.vault.url}, a folder of this machine",
            hint="keep the vault in an object store: s3://bucket/prefix",
        )
    return Deployment(
        stack=configuration.stack,
        version=csbsctl.__version__,
        directory=_relative(root, top),
        absolute=str(root),
        folder=_relative(root, base),
        files=_files(configuration, base, var_files) if kind == "kubernetes" else (),
        words=_words(session, root, var_files),
        executable=_executable(),
        secrets=_secrets(session),
        openstack=any(settings.type == "openstack" for settings in configuration.providers.values()),
        writable=_writable(configuration, root),
        tested=bool(find(root)),
        watched=tuple(
            _relative(path, top)
            for path in dict.fromkeys([*(each.resolve() for each in configuration.files), *var_files])
            if not path.is_relative_to(root)
        ),
        **chosen,
    )


def is_folder(configuration: Configuration) -> bool:
    """Tell whether the vault is a folder of this machine."""
    return not configuration.vault.url.startswith("s3://")


def _files(configuration: Configuration, base: Path, var_files: list[Path]) -> tuple[ConfigFile, ...]:
    from csbsctl.report.export import ConfigFile

    made = []
    for path in dict.fromkeys([*(each.resolve() for each in configuration.files), *var_files]):
        text = path.read_text(encoding="utf-8")
        # A default in csbs.yaml is in the repository by its author's choice; values given at hand are not.
        if path in var_files and any(secret in text for secret in configuration.sensitive):
            raise Refused(
                f"{path.name} holds the value of a sensitive variable, which would stand in a ConfigMap",
                hint="give it as CSBSCTL_VAR_NAME in the environment instead",
            )
        made.append(ConfigFile(_relative(path, base), text))
    return tuple(made)


def _words(session: Session, root: Path, var_files: list[Path]) -> tuple[str, ...]:
    words = []
    for path in var_files:
        words += ["--var-file", os.path.relpath(path, root)]
    for assignment in session.options.var:
        if assignment.partition("=")[2] not in session.configuration.sensitive:
            words += ["--var", assignment]
    return tuple(words)


def _secrets(session: Session) -> tuple[str, ...]:
    """Return the environment variables that the files must pass on: what opens the vault, and sensitive variables."""
    vault, sensitive = session.configuration.vault, session.configuration.sensitive
    names = []
    if not is_folder(session.configuration) and vault.profile is None:
        names += ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]
    if vault.encryption and vault.encryption.passphrase_env:
        names.append(vault.encryption.passphrase_env)
    names += sorted(name for name in os.environ if name.startswith(_VARIABLE))
    assigned = (text.partition("=") for text in session.options.var)
    names += [f"{_VARIABLE}{name}" for name, _, value in assigned if value in sensitive]
    return tuple(dict.fromkeys(names))


def _writable(configuration: Configuration, root: Path) -> tuple[str, ...]:
    paths = [
        root / settings.settings.get("path", "cloud")
        for settings in configuration.providers.values()
        if settings.type == "local"
    ]
    if is_folder(configuration):
        paths.append(root / configuration.vault.url.removeprefix("file://"))
    return tuple(str(path.resolve()) for path in paths)


def _executable() -> str:
    beside = Path(sys.argv[0]).absolute()
    return str(beside) if beside.name == "csbsctl" else shutil.which("csbsctl") or "/usr/local/bin/csbsctl"


def _repository(folder: Path) -> Path | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), "rev-parse", "--show-toplevel"],  # noqa: S607 - the user's own git
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return Path(done.stdout.strip()).resolve()


def _relative(path: Path, start: Path) -> str:
    return Path(os.path.relpath(path, start)).as_posix()
