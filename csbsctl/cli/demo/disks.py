"""Disk images for the demo: real ext4 file systems where the machine has mke2fs, and how to check them afterwards."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
import sysconfig
from pathlib import Path

from csbsctl.units import parse_size

_SBIN = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def can_make_filesystems() -> bool:
    """Return whether the machine can make and check ext4 without mounting."""
    return bool(shutil.which("mke2fs", path=_SBIN) and shutil.which("e2fsck", path=_SBIN))


def make_image(path: Path, size: str, seed: int) -> str:
    """Write a disk image and say what it holds: an ext4 of real files, or seeded bytes where mke2fs is missing."""
    with path.open("wb") as image:
        image.truncate(parse_size(size))
    if not can_make_filesystems():
        with path.open("r+b") as image:
            image.write(random.Random(seed).randbytes(parse_size(size) // 4))  # noqa: S311 - content, not secrets
        return "raw data (mke2fs is not installed)"
    tree = _tree_of_real_files(path.with_suffix(".files"), seed)
    tool = shutil.which("mke2fs", path=_SBIN) or "mke2fs"
    subprocess.run(
        [tool, "-q", "-t", "ext4", "-F", "-d", str(tree), str(path)], check=True, capture_output=True
    )
    shutil.rmtree(tree)
    return "an ext4 file system with real files"


def filesystem_is_clean(path: Path) -> bool | None:
    """Return what e2fsck says of an image; None where there is no e2fsck to ask."""
    if not can_make_filesystems():
        return None
    tool = shutil.which("e2fsck", path=_SBIN) or "e2fsck"
    return subprocess.run([tool, "-fn", str(path)], capture_output=True, check=False).returncode == 0


def digest(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal text."""
    with path.open("rb") as image:
        return hashlib.file_digest(image, "sha256").hexdigest()


def _tree_of_real_files(root: Path, seed: int) -> Path:
    """Copy a seeded choice of Python's own library into a folder: text of the kind servers hold."""
    library = Path(sysconfig.get_path("stdlib"))
    choice = random.Random(seed)  # noqa: S311 - a choice of files, not a secret
    files = sorted(file for file in library.glob("*/*.py") if file.is_file())
    for number, file in enumerate(choice.sample(files, k=min(400, len(files)))):
        target = root / f"srv/{file.parent.name}/{number:03}-{file.name}"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    (root / "etc").mkdir(parents=True)
    (root / "etc/hostname").write_text(f"server-{seed}\n")
    (root / "srv/customers.bin").write_bytes(choice.randbytes(4 << 20))
    return root
