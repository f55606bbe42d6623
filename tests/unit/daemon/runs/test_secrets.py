"""Secrets on their way: for this user only, and gone when they are not needed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pollinator.daemon.runs.secrets import SecretFiles
from pollinator.v1.run_pb2 import Secret
from pollinator.wire.errors import Exhausted
from support.disk import full_disk

TOKEN = Secret(name="TOKEN", value="hunter2")


@pytest.fixture
def secrets(tmp_path: Path) -> SecretFiles:
    return SecretFiles(tmp_path / "secrets")


def files(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "secrets").iterdir())


def test_they_are_read_again_after_a_restart(secrets: SecretFiles, tmp_path: Path) -> None:
    secrets.keep("a", [TOKEN])

    assert [TOKEN] == SecretFiles(tmp_path / "secrets").read("a")


def test_they_are_on_disk_before_the_run_is_recorded(
    secrets: SecretFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []

    def note(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_ino)

    monkeypatch.setattr(os, "fsync", note)
    secrets.keep("a", [TOKEN])

    folder = tmp_path / "secrets"
    assert [(folder / "a").stat().st_ino, folder.stat().st_ino] == synced


def test_only_this_user_can_read_them(secrets: SecretFiles, tmp_path: Path) -> None:
    secrets.keep("a", [TOKEN])

    assert 0o600 == (tmp_path / "secrets" / "a").stat().st_mode & 0o777
    assert 0o700 == (tmp_path / "secrets").stat().st_mode & 0o777


def test_without_secrets_there_is_no_file(secrets: SecretFiles, tmp_path: Path) -> None:
    secrets.keep("a", [])

    assert ([], []) == (files(tmp_path), secrets.read("a"))


def test_forgotten_ones_are_gone_and_forgetting_again_is_harmless(
    secrets: SecretFiles, tmp_path: Path
) -> None:
    secrets.keep("a", [TOKEN])
    secrets.forget("a")
    secrets.forget("a")

    assert ([], []) == (files(tmp_path), secrets.read("a"))


def test_those_of_runs_that_were_never_accepted_or_have_ended_are_cleared_away(
    secrets: SecretFiles, tmp_path: Path
) -> None:
    for run in ("ended", "active", "never-accepted"):
        secrets.keep(run, [TOKEN])

    secrets.forget_all_but(["active", "other"])

    assert ["active"] == files(tmp_path)


def test_a_full_disk_leaves_no_half_of_a_secret(secrets: SecretFiles, tmp_path: Path) -> None:
    with full_disk(3), pytest.raises(Exhausted) as caught:
        secrets.keep("a", [TOKEN])

    assert "disk_full" == caught.value.reason
    assert "hunter2" not in caught.value.message
    assert [] == files(tmp_path)
