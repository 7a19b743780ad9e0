"""A raw image of a real file system, through import, full and incremental backups, an attack and a restore."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

MKE2FS, E2FSCK, DEBUGFS = (
    shutil.which(name, path=f"{os.environ['PATH']}:/sbin:/usr/sbin")
    for name in ("mke2fs", "e2fsck", "debugfs")
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (MKE2FS and E2FSCK and DEBUGFS), reason="needs e2fsprogs"),
]
CONFIGURATION = """\
version: 1
providers:
  default: {type: local, path: ./cloud}
"""


def make_image(image: Path, megabytes: int) -> None:
    """Make an ext4 of real files: the standard library of the Python that runs this."""
    files = image.parent / "files"
    shutil.copytree(Path(os.__file__).parent, files, ignore=shutil.ignore_patterns("site-packages", "test*"))
    with image.open("wb") as disk:
        disk.truncate(megabytes << 20)
    subprocess.run(
        [str(MKE2FS), "-q", "-F", "-t", "ext4", "-d", str(files), str(image)], check=True, capture_output=True
    )
    shutil.rmtree(files)


def is_clean(image: Path) -> bool:
    """Say whether e2fsck finds nothing to mend."""
    return subprocess.run([str(E2FSCK), "-fn", str(image)], check=False, capture_output=True).returncode == 0


def test_a_file_system_comes_back_to_the_byte(csbsctl, tmp_path):
    megabytes = int(os.environ.get("CSBSCTL_TEST_IMAGE_MIB", "256"))
    image, added = tmp_path / "disk.raw", tmp_path / "added"
    make_image(image, megabytes)
    assert is_clean(image)
    csbsctl.write(CONFIGURATION)
    csbsctl("sim", "server", "create", "web-01", "--disk", f"{megabytes}M", "--disk", "8M")
    csbsctl("sim", "disk", "import", "web-01:0", str(image))
    csbsctl("backup", "create", "web-01", "--name", "full")

    added.write_bytes(os.urandom(3 << 20))
    subprocess.run(
        [str(DEBUGFS), "-w", "-R", f"write {added} added", str(image)], check=True, capture_output=True
    )
    assert is_clean(image)
    csbsctl("sim", "disk", "import", "web-01:0", str(image))
    digest = csbsctl("sim", "disk", "sha256", "web-01:0").out.split()[0]
    csbsctl("backup", "create", "web-01", "--name", "incremental")
    full, incremental = csbsctl("backup", "list", "--json").json
    assert (full["kind"], incremental["kind"]) == ("full", "incremental")
    assert incremental["stored"] < full["stored"] / 2 + (4 << 20)

    csbsctl("sim", "attack", "web-01", "--seed", "13")
    csbsctl("restore", "incremental", "--in-place", "--yes")
    assert csbsctl("sim", "disk", "sha256", "web-01:0").out.split()[0] == digest
    back = tmp_path / "back.raw"
    csbsctl("sim", "disk", "export", "web-01:0", str(back))
    assert is_clean(back)
    back.unlink()
    csbsctl("restore", "full", "--as", "web-02")
    csbsctl("sim", "disk", "export", "web-02:0", str(back))
    assert is_clean(back)
