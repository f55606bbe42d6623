"""What was saved, numbered: told once, by name, and only when it changed something."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pollinator.chunks.folder import FolderStore
from pollinator.daemon.sync.edits import KEPT, MOST_PATHS, Edits
from support.desk import Desk, desk_at
from support.sandbox import wait_until


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """A project with a file that was looked at."""
    folder = tmp_path / "project"
    with desk_at(folder, FolderStore(tmp_path / "store")) as desk:
        (folder / "project.yaml").write_text("projectname: demo\n")
        (desk.src / "main.py").write_text("1")
        desk.settle()
        yield desk


def told(desk: Desk, since: int) -> tuple[int, list[bytes]]:
    edits = desk.engine.meter.edits.since(since)

    assert len(edits.paths) == edits.count
    return edits.number, list(edits.paths)


def stepped(desk: Desk) -> int:
    """The number of the newest edit, after one step of what is done in the background."""
    desk.engine.step()
    desk.engine.wait(0.05)
    return desk.engine.meter.edits.number


def test_the_first_look_is_no_edit(desk: Desk) -> None:
    assert (1, []) == told(desk, 0)


def test_a_save_is_told_by_name(desk: Desk) -> None:
    (desk.src / "main.py").write_text("2")
    (desk.data / "d").mkdir()
    desk.settle()

    assert (2, [b"cfs/data/d", b"cfs/src/main.py"]) == told(desk, 1)
    assert (2, []) == told(desk, 2)


def test_what_is_gone_is_told(desk: Desk) -> None:
    (desk.src / "main.py").unlink()
    desk.settle()

    assert (2, [b"cfs/src/main.py"]) == told(desk, 1)


def test_the_same_content_is_no_edit(desk: Desk) -> None:
    (desk.src / "main.py").write_text("1")
    (desk.src / "new").write_text("1")
    os.rename(desk.src / "new", desk.src / "main.py")
    os.utime(desk.src / "main.py")
    desk.settle()
    desk.seal()

    assert (1, []) == told(desk, 1)


def test_what_is_left_out_is_no_edit(desk: Desk) -> None:
    (desk.src / "main.py~").write_text("2")
    (desk.src.parent / "result").mkdir()
    (desk.src.parent / "result" / "out").write_text("2")
    desk.settle()
    desk.seal()

    assert (1, []) == told(desk, 1)


def test_a_file_that_is_held_open_is_told_once_it_is_closed_and_delays_no_other(desk: Desk) -> None:
    with (desk.data / "log").open("w") as log:
        log.write("begun")
        log.flush()
        (desk.src / "main.py").write_text("2")
        wait_until(lambda: stepped(desk) == 2, "the save is told")
        assert (2, [b"cfs/src/main.py"]) == told(desk, 1)
        log.write(", and ended")
    desk.settle()

    assert (3, [b"cfs/data/log"]) == told(desk, 2)


@pytest.mark.parametrize("replaced", [False, True])
def test_project_yaml_counts(desk: Desk, replaced: bool) -> None:
    spec = desk.src.parents[1] / "project.yaml"
    written = spec.with_name("new") if replaced else spec
    written.write_text("projectname: other\n")
    if replaced:
        written.rename(spec)
    desk.settle()

    assert (2, [b"project.yaml"]) == told(desk, 1)


def test_a_seal_tells_what_it_found(desk: Desk) -> None:
    (desk.src / "main.py").write_text("2")
    desk.seal()

    assert (2, [b"cfs/src/main.py"]) == told(desk, 1)


def test_of_many_paths_the_number_is_known() -> None:
    edits = Edits()
    edits.settle()
    for number in range(MOST_PATHS + 5):
        edits.note(b"%03d" % number)
        edits.note(b"%03d" % min(number, 7))
    edits.settle()

    assert (MOST_PATHS, MOST_PATHS + 5) == (len(edits.since(1).paths), edits.since(1).count)


def test_who_asks_late_hears_of_all_that_is_remembered() -> None:
    edits = Edits()
    edits.settle()
    for number in range(KEPT + 10):
        edits.note(b"%03d" % number)
        edits.settle()

    assert KEPT == len(edits.since(1).paths)
    assert [b"%03d" % (KEPT + 9)] == list(edits.since(KEPT + 10).paths)
