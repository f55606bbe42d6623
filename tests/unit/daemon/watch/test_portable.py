"""The watchdog watcher, on whatever system the tests run."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pollinator.daemon.watch.base import COOKIE_DIR, Skip, Watch
from pollinator.daemon.watch.portable import WatchdogWatch
from support.watching import nothing, started

# watchdog warns in a thread of its own when it meets a new directory twice, which is harmless; as an error
# the warning would end that thread.
pytestmark = pytest.mark.filterwarnings("ignore:Callback with id:RuntimeWarning")


@contextmanager
def watchdog(root: Path, skip: Skip = nothing) -> Generator[Watch]:
    """A running watch."""
    with started(WatchdogWatch(root, skip)) as watch:
        yield watch


def test_an_idle_tree_has_no_changes(tmp_path: Path) -> None:
    with watchdog(tmp_path) as watch:
        assert not watch.drain()
        assert not watch.drain()


def test_created_appended_touched_and_deleted_files_are_named(tmp_path: Path) -> None:
    for name in ("appended", "deleted", "touched"):
        (tmp_path / name).write_text("x")
    with watchdog(tmp_path) as watch:
        (tmp_path / "created").touch()
        with (tmp_path / "appended").open("a") as file:
            file.write("y")
        (tmp_path / "deleted").unlink()
        (tmp_path / "touched").chmod(0o700)

        changes = watch.drain()

        assert {b"created", b"appended", b"deleted", b"touched"} <= changes.paths
        assert not changes.subtrees


def test_every_completed_change_is_announced_by_the_next_drain(tmp_path: Path) -> None:
    with watchdog(tmp_path) as watch:
        for trial in range(150):
            (tmp_path / f"d{trial % 7}").mkdir(exist_ok=True)
            path = f"d{trial % 7}/f{trial % 13}"
            with (tmp_path / path).open("a") as file:
                file.write("x")

            assert watch.drain().covers(path.encode()), f"trial {trial}"


def test_new_directories_are_announced_with_all_they_hold(tmp_path: Path) -> None:
    with watchdog(tmp_path) as watch:
        (tmp_path / "a/b/c").mkdir(parents=True)
        (tmp_path / "a/b/c/f").write_text("x")

        assert watch.drain().covers(b"a/b/c/f")


def test_a_moved_directory_is_announced_at_both_places(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "old/sub").mkdir(parents=True)
    (outside / "in/sub").mkdir(parents=True)
    (outside / "in/sub/f").touch()
    with watchdog(root) as watch:
        (root / "old").rename(root / "new")
        (outside / "in").rename(root / "in")

        changes = watch.drain()

        assert changes.covers(b"old")
        assert changes.covers(b"new/sub/any")
        assert changes.covers(b"in/sub/f")


def test_changes_in_skipped_directories_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "cache/deep").mkdir(parents=True)
    with watchdog(tmp_path, skip=lambda path: path == b"cache") as watch:
        (tmp_path / "cache/deep/f").write_text("x")

        assert not [path for path in watch.drain().paths if path.startswith(b"cache/")]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell when a file is closed")
def test_a_file_is_being_written_until_it_is_closed(tmp_path: Path) -> None:
    with watchdog(tmp_path) as watch:
        with (tmp_path / "f").open("wb", buffering=0) as file:
            file.write(b"x")

            assert {b"f"} == watch.drain().writing

        assert not watch.drain().writing


def test_a_root_that_goes_away_is_announced(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    with watchdog(root) as watch:
        shutil.rmtree(root)

        assert watch.drain().root_gone


def test_without_an_answer_everything_is_announced(tmp_path: Path) -> None:
    watch = WatchdogWatch(tmp_path, nothing, cookie_timeout_s=0.05)
    with started(watch):
        shutil.rmtree(tmp_path / os.fsdecode(COOKIE_DIR))
        (tmp_path / "f").touch()

        assert {b""} == watch.drain().subtrees


def test_a_refresh_announces_everything(tmp_path: Path) -> None:
    with watchdog(tmp_path) as watch:
        watch.refresh()

        assert watch.wait(0)
        assert {b""} == watch.drain().subtrees


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    with watchdog(tmp_path) as watch:
        watch.drain()
    watch.close()

    assert not list(tmp_path.iterdir())
