"""Ignore files in the life of a project: added, changed, removed, moved, in any folder, at any moment."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from pollinator.executors.conformance.trees import random_bytes
from support.projects import Project, project

__all__ = ["project"]


def names(project: Project) -> set[bytes]:
    """What is in a snapshot of src, ignore files aside."""
    return {path for path in project.sealed()["src"] if not path.endswith(b".pollinatorignore")}


@pytest.fixture(autouse=True)
def files(project: Project) -> None:
    """Something to ignore."""
    for path in ("a.log", "b.txt", "d/a.log", "d/c.txt", "out/o"):
        project.write(f"src/{path}", path)


EVERYTHING = {b"a.log", b"b.txt", b"d", b"d/a.log", b"d/c.txt", b"out", b"out/o"}


@pytest.mark.parametrize("place", [".", "cfs", "cfs/src"])
def test_rules_that_are_added_changed_and_removed_count_at_once(project: Project, place: str) -> None:
    rules = project.root / place / ".pollinatorignore"

    assert EVERYTHING == names(project)
    rules.write_text("*.log\n")
    assert EVERYTHING - {b"a.log", b"d/a.log"} == names(project)
    rules.write_text("out/\n")
    assert EVERYTHING - {b"out", b"out/o"} == names(project)
    rules.with_name("new").write_text("d\n")
    rules.with_name("new").replace(rules)
    assert EVERYTHING - {b"d", b"d/a.log", b"d/c.txt"} == names(project) - {b"new"}
    rules.unlink()

    assert EVERYTHING == names(project)


def test_rules_count_in_the_background_as_well(project: Project) -> None:
    project.settle()
    (project.root / ".pollinatorignore").write_text("*.log\n")
    assert 3 == project.settle().files
    (project.root / ".pollinatorignore").unlink()

    assert 5 == project.settle().files


def test_deeper_rules_win_and_may_take_back(project: Project) -> None:
    project.write("src/.pollinatorignore", "*.log\n")
    project.write("src/d/.pollinatorignore", "!a.log\nc.txt\n")

    assert EVERYTHING - {b"a.log", b"d/c.txt"} == names(project)
    (project.src / "d/.pollinatorignore").unlink()

    assert EVERYTHING - {b"a.log", b"d/a.log"} == names(project)


def test_nothing_below_an_ignored_folder_is_taken_back(project: Project) -> None:
    project.write("src/.pollinatorignore", "d/\n!d/c.txt\n")
    project.write("src/d/.pollinatorignore", "!*\n")

    assert EVERYTHING - {b"d", b"d/a.log", b"d/c.txt"} == names(project)


def test_a_file_that_waits_to_be_read_is_not_when_it_is_ignored_by_then(project: Project) -> None:
    project.seal()
    project.write("src/big", random_bytes(1000))
    project.write("data/big", random_bytes(1000))
    with (project.src / "big").open("ab") as opened:
        opened.write(b"more")
        opened.flush()
        while not project.engine.status().backlog.files:
            project.engine.step()
        (project.root / ".pollinatorignore").write_text("big\n")

        assert EVERYTHING == names(project)
    assert 0 == project.settle().backlog.files


def test_a_folder_that_is_no_longer_ignored_is_watched(project: Project) -> None:
    rules = project.write("src/.pollinatorignore", "out/\n")
    names(project)
    project.write("src/out/deep/one", "x")
    rules.write_text("")

    assert {b"out/deep/one"} < names(project)
    project.write("src/out/deep/two", "x")

    assert {b"out/deep/two"} < names(project)


def test_a_folder_that_is_moved_brings_its_own_rules(project: Project, tmp_path: Path) -> None:
    project.write("src/d/sub/x.log", "x")
    names(project)
    other = tmp_path / "other"
    shutil.copytree(project.src / "d", other)
    (other / ".pollinatorignore").write_text("sub/\n")
    (project.src / "d").rename(tmp_path / "gone")
    other.rename(project.src / "d")

    assert EVERYTHING == names(project)
    (project.src / "d/.pollinatorignore").unlink()

    assert {b"d/sub", b"d/sub/x.log"} < names(project)


def test_a_folder_in_the_place_of_one_with_rules_has_none(project: Project, tmp_path: Path) -> None:
    project.write("src/d/.pollinatorignore", "sub/\n")
    names(project)
    other = tmp_path / "other"
    (other / "sub").mkdir(parents=True)
    (project.src / "d").rename(tmp_path / "gone")
    other.rename(project.src / "d")
    project.write("src/d/sub/x", "x")

    assert {b"d", b"d/sub", b"d/sub/x"} < names(project)
    project.write("src/d/sub/y", "y")

    assert {b"d/sub/y"} < names(project)


def test_rules_changed_while_nobody_watched(project: Project) -> None:
    names(project)
    project.restart()
    project.write("src/.pollinatorignore", "*.log\n")

    assert EVERYTHING - {b"a.log", b"d/a.log"} == names(project)
    project.restart()
    (project.src / ".pollinatorignore").unlink()

    assert EVERYTHING == names(project)


def test_litter_is_left_out_without_any_rules(project: Project) -> None:
    project.write("src/.git/HEAD", "x")
    project.write("src/__pycache__/m.pyc", "x")
    project.write("src/.main.py.swp", "x")
    project.write("src/.pollinator-0123name", "x")

    assert EVERYTHING == names(project)


def test_a_name_that_is_no_text_may_be_ignored(project: Project) -> None:
    (project.root / ".pollinatorignore").write_bytes(b"\xff*\n")
    Path(os.fsdecode(os.fsencode(project.src) + b"/\xffx")).touch()

    assert EVERYTHING == names(project)
