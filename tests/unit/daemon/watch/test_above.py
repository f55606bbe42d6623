"""What the inotify watcher knows of the folders above its root, mostly without looking."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from pollinator.daemon.watch import above, filesystem
from pollinator.daemon.watch.base import IGNORE_FILE, Changes, Watch
from pollinator.daemon.watch.inotify import InotifyWatch
from pollinator.daemon.watch.kernel import Inotify
from support.looking import looked_at
from support.mounts import mount, unmount
from support.people import ground, nobody
from support.sandbox import wait_until
from support.watching import inotify, nothing, started

__all__ = ["ground", "mount"]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """As a project's: what is to be watched, in a folder with more, in one that may be moved."""
    folder = tmp_path / "far/project/cfs"
    (folder / "d").mkdir(parents=True)
    return folder


def exchange(one: Path, other: Path) -> None:
    """Each gets the other's name, at once."""
    rename, here, exchanging = ctypes.CDLL(None).renameat2, -100, 2
    if rename(here, os.fsencode(one), here, os.fsencode(other), exchanging):
        pytest.skip("nothing can be exchanged here")


def test_what_is_idle_is_not_looked_at(root: Path) -> None:
    with inotify(root) as watch, looked_at(root) as seen:
        changes = [watch.drain() for _ in range(5)]

    assert [Changes()] * 5 == changes
    assert not seen


def test_a_change_in_the_tree_is_no_reason_to_look_above(root: Path) -> None:
    with inotify(root) as watch, looked_at(root) as seen:
        (root / "d/f").touch()
        seen.clear()

        assert {b"d/f"} == watch.drain().paths
    assert not seen


def test_files_of_others_above_wake_nobody_up(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Counting(Inotify):
        reads = 0

        def read(self) -> list[bytes]:
            blocks = super().read()
            self.reads += bool(blocks)
            return blocks

        def has_read_more_than(self, times: int) -> bool:
            return self.reads > times

    # Others may mount something meanwhile, and that does wake up.
    monkeypatch.setattr(filesystem, "_MOUNTS", "/nowhere")
    events = Counting()
    with inotify(root, events=events) as watch:
        for turn in range(2):
            for folder in root.parents[:2]:
                (folder / "other").touch()
                (folder / "other").chmod(0o600)
                (folder / "other").unlink()
                (folder / "others").mkdir()
                (folder / "others").rmdir()
            wait_until(partial(events.has_read_more_than, turn), "it is read")

        assert not watch.wait(0), "what was read before is done with"
        (root / "d/f").touch()

        assert watch.wait(10)


class TestGone:
    """The path leads elsewhere, or nowhere."""

    def test_removed_while_somebody_has_it_open(self, root: Path) -> None:
        with inotify(root) as watch, ExitStack() as opened:
            descriptor = os.open(root, os.O_RDONLY)
            opened.callback(os.close, descriptor)
            shutil.rmtree(root)

            assert watch.drain().root_gone

    @pytest.mark.parametrize("level", [1, 2])
    def test_moved_with_a_folder_above(self, root: Path, tmp_path: Path, level: int) -> None:
        with inotify(root) as watch:
            root.parents[level - 1].rename(tmp_path / "elsewhere")

            assert watch.drain().root_gone

    def test_exchanged_with_another(self, root: Path, tmp_path: Path) -> None:
        shutil.copytree(tmp_path / "far", tmp_path / "other")
        with inotify(root) as watch:
            exchange(tmp_path / "far", tmp_path / "other")

            assert watch.drain().root_gone

    def test_moved_and_a_link_in_its_place_leads_elsewhere(self, root: Path, tmp_path: Path) -> None:
        shutil.copytree(tmp_path / "far", tmp_path / "other")
        with inotify(root) as watch:
            (tmp_path / "far").rename(tmp_path / "away")
            (tmp_path / "far").symlink_to("other")

            assert watch.drain().root_gone

    def test_closed_above(self, ground: Path) -> None:
        folder = ground / "project/cfs"
        with nobody():
            folder.mkdir(parents=True)
            with inotify(folder) as watch:
                (ground / "project").chmod(0)
                gone = watch.drain().root_gone
                (ground / "project").chmod(0o700)

        assert gone

    @pytest.mark.parametrize("level", [0, 1, 2])
    def test_something_is_mounted_on_it_or_above(
        self, root: Path, level: int, mount: Callable[..., None]
    ) -> None:
        with inotify(root) as watch:
            mount([root, *root.parents][level])

            assert watch.drain().root_gone

    def test_a_mount_that_leaves_with_the_folder_it_covers(
        self, root: Path, tmp_path: Path, mount: Callable[..., None]
    ) -> None:
        """Where others do not have it mounted, they may do as they like with that folder."""
        project = root.parent
        mount(project)
        root.mkdir()
        script = 'umount "$1" && mv "$1" "$2"'
        alone = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"]
        with inotify(root) as watch:
            subprocess.run([*alone, project, tmp_path / "away"], check=True)
            try:
                assert watch.drain().root_gone
            finally:
                unmount(tmp_path / "away")

    @pytest.mark.parametrize("level", [0, 1, 2])
    def test_unmounted(self, root: Path, level: int, mount: Callable[..., None], tmp_path: Path) -> None:
        shutil.copytree(tmp_path / "far", tmp_path / "copy")
        point = [root, *root.parents][level]
        mount(point)
        shutil.copytree(tmp_path / "copy" / point.relative_to(tmp_path / "far"), point, dirs_exist_ok=True)
        with inotify(root) as watch:
            # What is still in use elsewhere goes without an event of inotify's.
            mount(tmp_path / "copy", point)
            unmount(point)

            assert watch.drain().root_gone


def test_moved_away_and_back_it_is_there_and_later_moves_are_told(root: Path, tmp_path: Path) -> None:
    away = tmp_path / "away"
    with inotify(root) as watch:
        (tmp_path / "far").rename(away)
        away.rename(tmp_path / "far")
        (root / "d/f").touch()

        assert watch.drain().covers(b"d/f")
        assert Changes() == watch.drain()
        root.parent.rename(away)

        assert watch.drain().root_gone


def test_where_the_way_leads_through_a_mount_that_came_later_its_folders_are_watched(
    root: Path, tmp_path: Path, mount: Callable[..., None]
) -> None:
    """The root stays the same folder, and no folder above it does: one that was shows in the tree."""
    other, kept, far = tmp_path / "other", tmp_path / "kept", tmp_path / "kept far"
    (other / "project/cfs").mkdir(parents=True)
    for folder, what in ((kept, root), (far, tmp_path / "far")):
        folder.mkdir()
        mount(folder, what)
    mount(root / "d", far)
    with inotify(root) as watch:
        mount(tmp_path / "far", other)
        mount(root, kept)
        mount(root / "d", far)

        assert not watch.drain().root_gone
        assert not watch.drain().beside
        (far / "f").touch()

        assert {b"d/f"} == watch.drain().paths
        root.parent.rename(root.parent.with_name("moved"))

        assert watch.drain().root_gone


@pytest.mark.parametrize("mounted", ["before", "after"])
def test_a_folder_above_that_also_appears_in_the_tree_has_one_watch_for_both(
    root: Path, tmp_path: Path, mount: Callable[..., None], mounted: str
) -> None:
    project = root.parent
    if mounted == "before":
        mount(root / "d", project)
    with inotify(root) as watch:
        if mounted == "after":
            mount(root / "d", project)
            watch.drain()
        (project / "f").write_text("x")

        assert watch.drain().covers(b"d/f")
        (project / "f").write_text("y")

        assert {b"d/f"} == watch.drain().paths
        project.joinpath(os.fsdecode(IGNORE_FILE)).touch()

        assert watch.drain().beside
        unmount(root / "d")
        watch.drain()
        watch.drain()
        project.rename(tmp_path / "away")

        assert watch.drain().root_gone


class Refusing(Inotify):
    """Gives no watch for one folder."""

    def __init__(self, folder: Path, why: int) -> None:
        super().__init__()
        self.folder = os.fsencode(folder)
        self.why = why

    def add(self, path: bytes, mask: int) -> int:
        if path == self.folder:
            raise OSError(self.why, os.strerror(self.why), path)
        return super().add(path, mask)


class TestNotTold:
    """Where the kernel does not tell of everything above, every drain looks."""

    def as_ever(self, root: Path, watch: Watch) -> None:
        """All is seen, and the rest of the tree is told of."""
        assert watch.drain().beside
        assert watch.drain().beside
        with looked_at(root) as seen:
            changes = watch.drain()
        assert Changes(beside=True) == changes
        assert [f"stat {os.fsencode(root)!r}"] == seen, "once"
        root.parents[1].rename(root.parents[2] / "away")

        assert watch.drain().root_gone

    @pytest.mark.parametrize("why", [errno.EACCES, errno.ENOSPC])
    def test_a_folder_that_cannot_be_watched(self, root: Path, tmp_path: Path, why: int) -> None:
        with inotify(root, events=Refusing(tmp_path, why)) as watch:
            self.as_ever(root, watch)

    def test_a_folder_on_a_network_file_system(
        self, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def shared(path: bytes) -> bool:
            return path == os.fsencode(tmp_path)

        monkeypatch.setattr(above, "is_network_fs", shared)
        with inotify(root) as watch:
            self.as_ever(root, watch)

    def test_mounts_are_not_told(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(filesystem, "_MOUNTS", "/nowhere")
        with inotify(root) as watch:
            self.as_ever(root, watch)

    @pytest.mark.parametrize("where", ["far", "far/project/cfs"])
    def test_a_link_on_the_way_that_may_be_replaced(self, root: Path, tmp_path: Path, where: str) -> None:
        link = tmp_path / where
        link.rename(tmp_path / "real")
        link.symlink_to(tmp_path / "real")
        with inotify(root) as watch:
            assert watch.drain().beside
            shutil.copytree(tmp_path / "real", tmp_path / "other")
            link.unlink()
            link.symlink_to(tmp_path / "other")

            assert watch.drain().root_gone

    def test_a_path_that_begins_anywhere(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(root.parent)
        with started(InotifyWatch(Path("cfs"), nothing)) as watch:
            assert watch.drain().beside
            root.rename(root.with_name("away"))

            assert watch.drain().root_gone

    def test_watches_that_become_free_are_used(self, root: Path, tmp_path: Path) -> None:
        now = [0.0]
        events = Refusing(tmp_path, errno.ENOSPC)
        with started(InotifyWatch(root, nothing, events=events, clock=lambda: now[0])) as watch:
            events.folder = b""

            assert watch.drain().beside
            now[0] += 60

            assert watch.drain().beside
            assert not watch.drain().beside


def test_watches_are_given_back(root: Path, tmp_path: Path) -> None:
    class Keeping(Inotify):
        def __init__(self) -> None:
            super().__init__()
            self.held: set[int] = set()

        def add(self, path: bytes, mask: int) -> int:
            watch = super().add(path, mask)
            self.held.add(watch)
            return watch

        def remove(self, watch: int) -> None:
            super().remove(watch)
            self.held.discard(watch)

    rules = root.parent / os.fsdecode(IGNORE_FILE)
    events = Keeping()
    with inotify(root, events=events) as watch:
        before = len(events.held)
        for turn in range(5):
            rules.touch()
            watch.drain()
            rules.rename(tmp_path / f"old{turn}")
            watch.drain()

        assert before == len(events.held)
