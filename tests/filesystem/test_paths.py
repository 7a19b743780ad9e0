"""Patterns and links: what a path names, and that no link leads out of the file system."""

from __future__ import annotations

import pytest

from csbsctl.filesystem import find_places, match, printable
from tests.filesystem.conftest import Bytes, image


@pytest.mark.parametrize(
    ("pattern", "paths"),
    [
        ("/etc/hosts", ["/etc/hosts"]),
        ("//etc/./hosts/", ["/etc/hosts"]),
        ("/etc/*", ["/etc/hosts", "/etc/ssh"]),
        ("/e*/ssh/*.conf", []),
        ("/etc/ssh/sshd_[abc]onfig", ["/etc/ssh/sshd_config"]),
        ("/many/*-name-20?", ["/many/file-with-a-rather-long-name-200"]),
        ("/bin/sh", ["/usr/bin/sh"]),
        ("/b*/*", ["/usr/bin/sh"]),
        ("/bin", ["/bin"]),
        ("/absolute", ["/absolute"]),
        ("/outside/passwd", []),
        ("/loop/x", []),
        ("/etc/../etc/hosts", ["/etc/hosts"]),
        ("/../../etc/hosts", ["/etc/hosts"]),
        ("/etc/hosts/x", []),
        ("/nothing", []),
        ("/", ["/"]),
    ],
)
def test_a_pattern_names_real_paths(kind, pattern, paths):
    (place,) = find_places(Bytes(image(kind)))
    assert [printable(found.path) for found in match(place.open(), pattern)] == paths


def test_names_that_would_work_on_a_terminal_are_shown_as_escapes():
    assert printable((b"a\x1b[31m", b"\xff", "ü".encode())) == "/a\\x1b[31m/\\xff/ü"
