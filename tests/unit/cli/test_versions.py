"""Agreeing on versions with a daemon."""

from __future__ import annotations

import pytest

from pollinator.cli.about import API_VERSION
from pollinator.cli.connect import Verdict, compare_versions
from pollinator.cli.spawn import autostart_allowed


@pytest.mark.parametrize(
    ("own", "daemon", "expected"),
    [
        ("0.1.0", "0.1.0", Verdict.FINE),
        ("0.2.0", "0.1.9", Verdict.REPLACE),
        ("0.10.0", "0.9.0", Verdict.REPLACE),
        ("0.1.0", "0.2.0", Verdict.UPGRADE),
        ("0.1.0.dev1", "0.1.0", Verdict.FINE),
    ],
)
def test_the_newer_of_the_two_decides(own: str, daemon: str, expected: Verdict) -> None:
    assert compare_versions(own, daemon, API_VERSION) is expected


def test_a_daemon_with_an_older_api_is_replaced_whatever_its_version() -> None:
    assert compare_versions("0.1.0", "0.9.0", API_VERSION - 1) is Verdict.REPLACE


@pytest.mark.parametrize(("value", "expected"), [("1", False), ("yes", False), ("0", True), ("", True)])
def test_autostart_is_forbidden_by_a_variable(value: str, expected: bool) -> None:
    assert autostart_allowed({"POLLINATOR_NO_AUTOSTART": value}) is expected
