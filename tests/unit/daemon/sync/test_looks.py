"""A seal without changes looks at nothing on disk; what it would have seen it is told of."""

from __future__ import annotations

import mmap
import os
import shutil
import sys
from pathlib import Path

import pytest

from pollinator.daemon.sync import engine
from pollinator.daemon.watch.choose import VARIABLE
from pollinator.wire.errors import InvalidInput
from support.looking import looked_at
from support.people import ground, nobody
from support.projects import Project, project
from support.syncing import read_back

__all__ = ["ground", "project"]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")

RULES = ".pollinatorignore"
PLACES = [".", "cfs", "cfs/src", "cfs/src/d"]


@pytest.fixture(autouse=True)
def files(project: Project) -> None:
    """Something in each tree, and something to ignore."""
    for path in ("src/a.log", "src/b.txt", "src/d/a.log", "data/f"):
        project.write(path, path)


def looks(project: Project) -> list[str]:
    """What is looked at while nothing changes."""
    project.settle()
    while project.engine.rest_s() < engine.RULES_S:
        project.settle()  # until no file is read again in any case
    project.seal(external_links=True)
    with looked_at(project.root) as seen:
        for _ in range(3):
            project.seal(external_links=True)
            project.engine.step(news=False)
    return seen


def logs(project: Project) -> set[bytes]:
    """Those that are in a snapshot."""
    sealed = read_back(project.store, project.seal(external_links=True).ref)
    return {path for path in sealed["src"] if path.endswith(b".log")}


@pytest.mark.parametrize("rules", [[], PLACES])
def test_without_changes_nothing_is_looked_at(project: Project, rules: list[str]) -> None:
    for place in rules:
        (project.root / place / RULES).write_text("*.tmp\n")

    assert [] == looks(project)


def test_after_changes_of_all_kinds_nothing_is_looked_at(project: Project) -> None:
    looks(project)
    project.write("src/b.txt", "other")
    (project.root / RULES).write_text("*.tmp\n")
    assert [] == looks(project)
    (project.src / "d").rename(project.data / "d")
    project.data.chmod(0o700)
    project.root.rename(project.root.with_name("away"))
    project.root.with_name("away").rename(project.root)
    assert [] == looks(project)
    away = project.root.with_name("away")
    shutil.copytree(project.root, away)
    shutil.rmtree(project.root)
    away.rename(project.root)

    assert [] == looks(project)


def test_what_is_counted_would_be_seen(project: Project) -> None:
    project.seal()
    with looked_at(project.root) as seen:
        project.write("src/new/f", "other")
        (project.root / RULES).touch()
        # The watcher may have seen it already.
        project.seal()
    folder = os.fsencode(project.src / "new")

    assert f"inotify_add_watch {folder!r}" in seen
    assert f"open {folder + b'/f'!r}" in seen
    assert f"stat {os.fsencode(project.root / RULES)!r}" in seen


@pytest.mark.parametrize("watch", ["inotify", "watchdog", "poll"])
@pytest.mark.parametrize("place", PLACES)
def test_whoever_watches_rules_count_at_once(
    project: Project, monkeypatch: pytest.MonkeyPatch, place: str, watch: str
) -> None:
    monkeypatch.setenv(VARIABLE, watch)
    looks(project)
    assert {b"a.log", b"d/a.log"} == logs(project)
    (project.root / place / RULES).write_text("a.log\n")
    assert b"d/a.log" not in logs(project)
    looks(project)
    (project.root / place / RULES).unlink()

    assert {b"a.log", b"d/a.log"} == logs(project)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_rules_that_are_written_elsewhere_count_at_once(
    project: Project, tmp_path: Path, place: str, link: object
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("*.tmp\n")
    assert callable(link)
    link(elsewhere, project.root / place / RULES)
    looks(project)
    assert {b"a.log", b"d/a.log"} == logs(project)
    elsewhere.write_text("d/a.log\na.log\n")

    assert b"d/a.log" not in logs(project)
    elsewhere.write_text("*.tmp\n")

    assert {b"a.log", b"d/a.log"} == logs(project)


@pytest.mark.parametrize("place", PLACES)
def test_rules_that_are_written_through_a_map_count_after_an_audit(
    project: Project, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    rules = project.root / place / RULES
    rules.write_text("*.tmp\n")
    with rules.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        file.close()
        looks(project)
        assert b"d/a.log" in logs(project)
        mapped[:] = b"a.log\n"
        monkeypatch.setattr(engine, "AUDIT_S", -1.0)
        project.settle()

        assert b"d/a.log" not in logs(project)


@pytest.mark.parametrize("leaves", ["removed", "moved"])
def test_rules_that_cannot_be_read_are_no_problem_once_their_folder_is_gone(
    ground: Path, leaves: str
) -> None:
    with nobody():
        project = Project(ground)
        folder = project.write("src/up/d/f", "x").parent
        (folder / RULES).touch(mode=0)
        try:
            with pytest.raises(InvalidInput, match="cannot be read"):
                project.seal()
            if leaves == "removed":
                shutil.rmtree(folder)
            else:
                folder.parent.rename(ground / "away")

            assert project.disk == project.sealed()
        finally:
            project.close()
