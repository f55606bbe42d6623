"""What doctor sees without a daemon."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

import pytest

from pollinator.cli import selfcheck
from pollinator.cli.selfcheck import Grade, check_installation


def grades(environ: dict[str, str]) -> dict[str, Grade]:
    return {each.name: each.grade for each in check_installation(environ)}


def test_a_program_that_is_not_on_the_path_is_noticed(home: Path) -> None:
    assert grades({"PATH": str(home)})["path"] is Grade.WARNING


def test_another_program_of_the_name_is_noticed(home: Path) -> None:
    other = home / "pollinator"
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)

    assert grades({"PATH": str(home)})["path"] is Grade.WARNING


def test_this_program_on_the_path_is_well(home: Path) -> None:
    assert grades({"PATH": str(Path(sys.executable).parent)})["path"] is Grade.OK


def test_forbidden_bytecode_is_noticed(home: Path) -> None:
    assert grades({"PYTHONDONTWRITEBYTECODE": "1"})["bytecode"] is Grade.WARNING


def test_the_unrelated_package_of_the_name_is_a_failure(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        return {"pollinator": "0.0.3"}[name]

    monkeypatch.setattr(importlib.metadata, "version", version)

    assert grades({})["packages"] is Grade.FAILED


def test_a_full_disk_is_a_failure(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selfcheck, "FULL_BYTES", 1 << 80)

    assert grades({})["folder of state"] is Grade.FAILED


def test_a_folder_that_is_a_file_is_a_failure(home: Path) -> None:
    (home / "state_home").touch()

    assert grades({})["folder of state"] is Grade.FAILED
