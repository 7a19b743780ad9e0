"""Which options of ``restore`` go together: one destination, and nothing that does not fit it."""

from __future__ import annotations

import pytest

from csbsctl.cli.destination import Destination, destination_of
from csbsctl.errors import UsageError


@pytest.mark.parametrize(
    ("options", "destination"),
    [
        (["--in-place", "--map", "--onto", "--instant"], Destination.SERVER),
        (["--as", "--no-power-on", "--instant"], Destination.NEW_SERVER),
        (["--no-server"], Destination.VOLUMES),
        (["--no-server", "--as", "--dry-run"], Destination.VOLUMES),
        (["--to"], Destination.DISKS),
        (["--to", "--path"], Destination.FILES),
        (["--path", "--dry-run"], Destination.FILES),
    ],
)
def test_what_fits_has_one_destination(options, destination):
    assert destination_of(dict.fromkeys(options, True)) is destination


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "say where to restore to"),
        (["--in-place", "--as"], "--in-place excludes --as"),
        (["--in-place", "--to"], "--in-place excludes --to"),
        (["--in-place", "--no-server"], "--in-place excludes --no-server"),
        (["--in-place", "--path"], "--in-place excludes --path"),
        (["--no-server", "--to"], "--no-server excludes --to"),
        (["--no-server", "--no-power-on"], "--no-server excludes --no-power-on"),
        (["--as", "--map"], "--as excludes --map"),
        (["--as", "--to"], "--as excludes --to"),
        (["--to", "--instant"], "--to excludes --instant"),
        (["--path", "--to", "--no-safety-backup"], "--path excludes --no-safety-backup"),
        (["--path"], "--path needs --to DIR"),
    ],
)
def test_what_does_not_fit_is_named(options, message):
    with pytest.raises(UsageError) as caught:
        destination_of(dict.fromkeys(options, True) | {"--yes": False})
    assert caught.value.message.startswith(message)
    assert caught.value.hint
