"""Every exception of OpenStack's libraries becomes one of ours; runs without a cloud."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

import keystoneauth1.exceptions
import openstack.exceptions
import pytest
import requests

from csbsctl.errors import (
    CloudRefused,
    CloudUnavailable,
    ProviderError,
    QuotaExceeded,
    ResourceConflict,
    ResourceNotFound,
    Unsupported,
)
from csbsctl_openstack.errors import foreign, from_exception, from_status, translated

pytestmark = pytest.mark.filterwarnings("ignore")


def classes_of_the_libraries() -> list[type[BaseException]]:
    """Walk the modules in which openstacksdk and keystoneauth define their exceptions."""
    modules = [openstack.exceptions]
    package = keystoneauth1.exceptions
    modules += [
        importlib.import_module(f"{package.__name__}.{info.name}")
        for info in pkgutil.iter_modules(package.__path__)
    ]
    found = {
        value
        for module in modules
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, BaseException) and value.__module__ == module.__name__
    }
    return sorted(found, key=lambda value: f"{value.__module__}.{value.__name__}")


@pytest.mark.parametrize("foreign_class", classes_of_the_libraries(), ids=lambda value: value.__name__)
def test_no_class_of_the_libraries_is_missed(foreign_class):
    error = foreign_class.__new__(foreign_class)
    Exception.__init__(error, "something")
    error.url, error.message = None, "something"
    assert isinstance(error, foreign())
    assert isinstance(from_exception(error, "try"), ProviderError)


@pytest.mark.parametrize(
    ("status", "text", "kind"),
    [
        (400, "Invalid input for field/attribute volume_id", CloudRefused),
        (
            400,
            "Invalid volume: Volume status must be available, but current status is: backing-up.",
            ResourceConflict,
        ),
        (400, "Invalid backup: Incremental backups exist for this backup.", ResourceConflict),
        (401, "The request you have made requires authentication.", CloudRefused),
        (403, "Policy doesn't allow backup:create to be performed.", CloudRefused),
        (403, "Quota exceeded for cores: Requested 1, but already used 20 of 20 cores", QuotaExceeded),
        (404, "Volume could not be found", ResourceNotFound),
        (406, "Version 3.66 is not supported by the API.", Unsupported),
        (409, "Cannot 'pause' instance while it is in vm_state stopped", ResourceConflict),
        (413, "BackupLimitExceeded: Maximum number of backups allowed (10) exceeded", QuotaExceeded),
        (429, "Too many requests", CloudUnavailable),
        (500, "The server has either erred or is incapable", CloudUnavailable),
        (503, "Service Unavailable", CloudUnavailable),
    ],
)
def test_a_status_and_its_text_decide(status, text, kind):
    assert type(from_status(status, text, "back up volume x")) is kind


def test_a_413_that_names_a_time_is_a_rate_limit_not_a_quota():
    assert type(from_status(413, "This request was rate-limited.", "try", retry_after=7)) is CloudUnavailable


def test_the_message_names_what_was_done_the_answer_and_the_request():
    error = from_status(404, "Volume abc could not be found.", "snapshot volume abc", request_id="req-1")
    assert error.message == "snapshot volume abc: Volume abc could not be found (HTTP 404, req-1)"
    assert error.request_id == "req-1"


def test_a_missing_right_is_named():
    error = from_status(403, "Policy doesn't allow backup:create to be performed.", "back up volume x")
    assert "backup:create" in (error.hint or "")


def test_broken_connections_are_worth_another_try():
    with pytest.raises(CloudUnavailable), translated("look"):
        raise requests.exceptions.ChunkedEncodingError("cut off")


def test_our_own_errors_pass_unchanged():
    ours = ResourceConflict("busy")
    with pytest.raises(ResourceConflict) as caught, translated("look"):
        raise ours
    assert caught.value is ours
