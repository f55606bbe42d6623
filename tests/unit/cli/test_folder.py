"""Which project a command is about."""

from __future__ import annotations

from pathlib import Path

import pytest

from pollinator.cli.folder import find_project, project_here, project_or_any
from pollinator.wire.errors import InvalidInput


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "demo"
    (root / "cfs" / "src" / "deep").mkdir(parents=True)
    (root / "project.yaml").touch()
    return root


def test_the_nearest_folder_upwards_with_project_yaml_is_the_project(project: Path) -> None:
    assert find_project(project / "cfs" / "src" / "deep") == project


def test_a_link_to_a_project_is_the_project(project: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(project)

    assert find_project(tmp_path / "link" / "cfs") == project


def test_outside_of_any_project_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(InvalidInput) as caught:
        project_here()

    assert caught.value.reason == "no_project"
    assert "pollinator new" in caught.value.hint
    assert project_or_any() == ""


def test_a_folder_that_is_named_must_be_a_project(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as caught:
        project_here(tmp_path)

    assert caught.value.reason == "no_project"


def test_a_folder_that_is_named_is_not_searched_for_upwards(project: Path) -> None:
    assert project_here(project) == project
    with pytest.raises(InvalidInput):
        project_here(project / "cfs")
