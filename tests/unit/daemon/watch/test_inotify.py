"""The inotify watcher on a real kernel."""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import subprocess
import sys
import tarfile
import termios
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pollinator.daemon.watch import inotify as under_test
from pollinator.daemon.watch.base import Changes
from pollinator.daemon.watch.inotify import InotifyWatch
from pollinator.daemon.watch.kernel import Inotify
from support.watching import inotify, nothing, started

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")


def test_an_idle_tree_has_no_changes(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    with inotify(tmp_path) as watch:
        assert Changes() == watch.drain()
        assert not watch.degraded


def test_a_created_an_appended_a_deleted_and_a_touched_file_are_named(tmp_path: Path) -> None:
    for name in ("appended", "deleted", "touched"):
        (tmp_path / name).write_text("x")
    with inotify(tmp_path) as watch:
        (tmp_path / "created").touch()
        with (tmp_path / "appended").open("a") as file:
            file.write("y")
        (tmp_path / "deleted").unlink()
        (tmp_path / "touched").chmod(0o700)

        changes = watch.drain()

        assert {b"created", b"appended", b"deleted", b"touched"} == changes.paths
        assert not changes.subtrees
        assert not changes.writing


def test_reading_the_tree_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d/f").write_text("x")
    with inotify(tmp_path) as watch:
        (tmp_path / "d/f").read_text()
        os.listdir(tmp_path / "d")

        assert not watch.drain()


def test_a_burst_of_rewrites_is_named_completely(tmp_path: Path) -> None:
    names = {b"f%d" % number for number in range(20_000)}
    root = os.fsencode(tmp_path)
    for name in names:
        os.close(os.open(os.path.join(root, name), os.O_CREAT | os.O_WRONLY))
    with inotify(tmp_path) as watch:
        for name in names:
            file = os.open(os.path.join(root, name), os.O_WRONLY)
            os.write(file, b"x")
            os.close(file)

        changes = watch.drain()

        assert changes.subtrees or names == changes.paths
        assert not [name for name in names if not changes.covers(name)]
        assert not changes.writing


def test_an_extracted_archive_of_new_directories_is_named_completely(tmp_path: Path) -> None:
    source = tmp_path / "source"
    files = {f"a{n % 5}/b{n % 30}/c{n}/f{n}" for n in range(600)}
    for name in files:
        (source / name).parent.mkdir(parents=True)
        (source / name).write_text("x")
    with tarfile.open(tmp_path / "archive.tar", "w") as archive:
        archive.add(source, arcname=".")
    root = tmp_path / "root"
    root.mkdir()
    with inotify(root) as watch:
        subprocess.run(["tar", "-xf", tmp_path / "archive.tar", "-C", root], check=True)

        changes = watch.drain()

        assert not [name for name in files if not changes.covers(name.encode())]
        for name in files:
            (root / name).write_text("changed")

        assert {name.encode() for name in files} <= watch.drain().paths


def test_a_directory_renamed_within_the_tree_is_followed(tmp_path: Path) -> None:
    (tmp_path / "old/sub").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    with inotify(tmp_path) as watch:
        (tmp_path / "old").rename(tmp_path / "other/new")

        changes = watch.drain()

        assert b"old" in changes.paths
        assert {b"other/new"} == changes.subtrees
        (tmp_path / "other/new/sub/f").write_text("x")

        assert Changes(paths=frozenset((b"other/new/sub/f",))) == watch.drain()


def test_a_change_before_a_rename_is_named_where_it_is_now(tmp_path: Path) -> None:
    (tmp_path / "old/sub").mkdir(parents=True)
    with inotify(tmp_path) as watch:
        (tmp_path / "old/sub/f").write_text("x")
        (tmp_path / "old").rename(tmp_path / "new")

        changes = watch.drain()

        assert changes.covers(b"new/sub/f")
        assert changes.covers(b"old")


def test_a_directory_moved_out_is_gone_and_silent(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "d/sub").mkdir(parents=True)
    outside.mkdir()
    with inotify(root) as watch:
        (root / "d").rename(outside / "d")

        assert Changes(paths=frozenset((b"d",))) == watch.drain()
        (outside / "d/sub/f").write_text("x")

        assert not watch.drain()


def test_a_directory_moved_in_is_listed_and_watched(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    (outside / "d/sub").mkdir(parents=True)
    (outside / "d/sub/f").write_text("x")
    with inotify(root) as watch:
        (outside / "d").rename(root / "d")

        assert {b"d"} == watch.drain().subtrees
        (root / "d/sub/f").write_text("y")

        assert {b"d/sub/f"} == watch.drain().paths


def test_a_file_renamed_over_another_names_both(tmp_path: Path) -> None:
    (tmp_path / "new").write_text("1")
    (tmp_path / "target").write_text("2")
    with inotify(tmp_path) as watch:
        (tmp_path / "new").replace(tmp_path / "target")

        assert {b"new", b"target"} == watch.drain().paths


def test_a_directory_removed_and_made_again_is_watched(tmp_path: Path) -> None:
    (tmp_path / "d/e").mkdir(parents=True)
    with inotify(tmp_path) as watch:
        for _ in range(20):
            shutil.rmtree(tmp_path / "d")
            (tmp_path / "d/e").mkdir(parents=True)

        assert watch.drain().covers(b"d/e")
        (tmp_path / "d/e/f").write_text("x")

        assert {b"d/e/f"} == watch.drain().paths


def test_linked_directories_are_not_followed(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (root / "before").symlink_to(outside)
    with inotify(root) as watch:
        (root / "after").symlink_to(outside)

        assert {b"after"} == watch.drain().paths
        (outside / "f").write_text("x")

        assert not watch.drain()


def test_skipped_directories_are_not_watched(tmp_path: Path) -> None:
    (tmp_path / "cache/deep").mkdir(parents=True)
    with inotify(tmp_path, skip=lambda path: path.endswith(b"cache")) as watch:
        (tmp_path / "cache/deep/f").write_text("x")
        (tmp_path / "d/cache").mkdir(parents=True)

        assert {b"d"} == watch.drain().subtrees
        (tmp_path / "d/cache/f").write_text("x")
        (tmp_path / "cache/f").write_text("x")

        assert not watch.drain()


def test_after_a_refresh_other_directories_are_skipped(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    skipped = {b"a"}
    with inotify(tmp_path, skip=skipped.__contains__) as watch:
        skipped.symmetric_difference_update((b"a", b"b"))
        watch.refresh()

        assert watch.wait(20)
        assert {b""} == watch.drain().subtrees
        (tmp_path / "a/f").write_text("x")
        (tmp_path / "b/f").write_text("x")

        assert Changes(paths=frozenset((b"a/f",))) == watch.drain()


def test_a_file_is_being_written_until_it_is_closed(tmp_path: Path) -> None:
    with inotify(tmp_path) as watch:
        with (tmp_path / "f").open("wb", buffering=0) as file:
            file.write(b"x")

            assert {b"f"} == watch.drain().writing
            assert {b"f"} == watch.drain().writing
            (tmp_path / "f").rename(tmp_path / "g")

            assert {b"g"} == watch.drain().writing

        assert not watch.drain().writing


def test_a_file_replaced_or_deleted_is_not_being_written(tmp_path: Path) -> None:
    with (
        inotify(tmp_path) as watch,
        (tmp_path / "f").open("wb", buffering=0) as one,
        (tmp_path / "g").open("wb", buffering=0) as other,
    ):
        one.write(b"x")
        other.write(b"x")
        (tmp_path / "f").unlink()
        (tmp_path / "h").touch()
        (tmp_path / "h").rename(tmp_path / "g")

        assert not watch.drain().writing


def test_a_file_truncated_without_opening_is_not_being_written_for_ever(tmp_path: Path) -> None:
    now = [0.0]
    (tmp_path / "f").write_text("long")
    with started(InotifyWatch(tmp_path, nothing, clock=lambda: now[0])) as watch:
        os.truncate(tmp_path / "f", 1)

        assert {b"f"} == watch.drain().writing
        now[0] += under_test.WRITING_FORGOTTEN_S + 1

        assert not watch.drain().writing


def test_names_that_are_not_text_are_kept(tmp_path: Path) -> None:
    name = b"\xff\xfe weird\n\\"
    with inotify(tmp_path) as watch:
        os.mkdir(os.path.join(os.fsencode(tmp_path), name))
        watch.drain()
        os.close(os.open(os.path.join(os.fsencode(tmp_path), name, b"\x80"), os.O_CREAT | os.O_WRONLY))

        assert {name + b"/\x80"} == watch.drain().paths


@pytest.mark.parametrize("what", ["deleted", "moved", "replaced", "moved above"])
def test_a_root_that_goes_away_is_announced(tmp_path: Path, what: str) -> None:
    root = tmp_path / "above/root"
    root.mkdir(parents=True)
    (root / "f").touch()
    with inotify(root) as watch:
        match what:
            case "deleted":
                shutil.rmtree(root)
            case "moved":
                root.rename(tmp_path / "elsewhere")
            case "replaced":
                root.rename(tmp_path / "elsewhere")
                root.mkdir()
            case _:
                (tmp_path / "above").rename(tmp_path / "elsewhere")

        assert watch.drain().root_gone
        assert watch.drain().root_gone


def test_an_unmounted_root_is_announced(tmp_path: Path) -> None:
    if (
        os.geteuid() != 0
        or subprocess.run(["mount", "-t", "tmpfs", "none", tmp_path], check=False).returncode
    ):
        pytest.skip("mounting needs root")
    with inotify(tmp_path) as watch:
        (tmp_path / "f").touch()
        subprocess.run(["umount", tmp_path], check=True)

        assert watch.drain().root_gone


def test_a_root_that_was_never_there_is_announced(tmp_path: Path) -> None:
    with started(InotifyWatch(tmp_path / "missing", nothing)) as watch:
        assert watch.drain().root_gone


def test_waiting_ends_with_a_change_and_with_closing(tmp_path: Path) -> None:
    watch = InotifyWatch(tmp_path, nothing)
    with started(watch):
        watch.drain()
        while watch.wait(0):
            watch.drain()
        (tmp_path / "f").touch()

        assert watch.wait(10)
        watch.drain()
        ended = _in_thread(lambda: watch.wait(60))
        watch.close()
        ended.join(10)

        assert not ended.is_alive()
        assert Changes() == watch.drain()


def test_closing_leaves_no_descriptor_and_no_thread(tmp_path: Path) -> None:
    before = (len(os.listdir("/proc/self/fd")), threading.active_count())
    for _ in range(5):
        with inotify(tmp_path) as watch:
            (tmp_path / "f").touch()
        watch.close()

    assert before == (len(os.listdir("/proc/self/fd")), threading.active_count())


def test_events_are_read_while_nobody_drains(tmp_path: Path) -> None:
    events = Inotify()
    with inotify(tmp_path, events=events) as watch:
        (tmp_path / "f").touch()
        deadline = time.monotonic() + 10
        while _queued(events) and time.monotonic() < deadline:
            watch.wait(0.01)

        assert not _queued(events)
        assert {b"f"} == watch.drain().paths


def _queued(events: Inotify) -> int:
    return int(struct.unpack("i", fcntl.ioctl(events.fd, termios.FIONREAD, bytes(4)))[0])


def _in_thread(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread
