"""What the inotify watcher tells of the ignore file in the folder that holds its root."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pollinator.daemon.watch.base import IGNORE_FILE, Changes, Watch
from pollinator.daemon.watch.kernel import HEADER, OVERFLOW, Inotify
from support.looking import looked_at
from support.mounts import mount
from support.watching import inotify

__all__ = ["mount"]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """What is to be watched, in a folder with more."""
    folder = tmp_path / "project/cfs"
    (folder / "d").mkdir(parents=True)
    return folder


@pytest.fixture
def rules(root: Path) -> Path:
    return root.parent / os.fsdecode(IGNORE_FILE)


def told(watch: Watch) -> bool:
    """That it may have changed is said, once."""
    return watch.wait(10) and watch.drain().beside and not watch.drain().beside


def test_all_that_happens_to_it_is_told(root: Path, rules: Path) -> None:
    with inotify(root) as watch:
        rules.write_text("a\n")
        assert told(watch)
        with rules.open("a") as file:
            file.write("b\n")
            file.flush()
            assert told(watch), "not closed yet"
            file.write("c\n")
            file.flush()
            assert told(watch), "again"
        rules.with_name("new").write_text("d\n")
        rules.with_name("new").replace(rules)
        assert told(watch)
        os.truncate(rules, 0)
        assert told(watch), "the new one is watched"
        rules.chmod(0o600)
        assert told(watch)
        rules.rename(rules.with_name("old"))
        assert told(watch)
        rules.with_name("old").write_text("e\n")
        assert not watch.drain().beside, "it is another file now"
        rules.with_name("old").rename(rules)
        assert told(watch)
        rules.unlink()

        assert told(watch)


def test_other_files_beside_the_root_do_not_matter(root: Path, rules: Path) -> None:
    rules.touch()
    with inotify(root) as watch, looked_at(root) as seen:
        descriptor = os.open(root.parent / "other", os.O_CREAT | os.O_WRONLY)
        os.write(descriptor, b"x")
        os.close(descriptor)
        os.rename(root.parent / "other", root.parent / "another")
        os.rmdir(root / "d")
        seen.clear()

        assert Changes(paths=frozenset((b"d",))) == watch.drain()
    assert not seen


def test_something_mounted_on_it_is_told(
    root: Path, rules: Path, tmp_path: Path, mount: Callable[..., None]
) -> None:
    rules.touch()
    (tmp_path / "other").write_text("*\n")
    with inotify(root) as watch:
        mount(rules, tmp_path / "other")

        assert watch.drain().beside


def test_lost_events_may_have_been_about_it(root: Path) -> None:
    class Losing(Inotify):
        lost = False

        def read(self) -> list[bytes]:
            blocks = [HEADER.pack(-1, OVERFLOW, 0, 0)] if self.lost else []
            return blocks + super().read()

    events = Losing()
    with inotify(root, events=events) as watch:
        assert not watch.drain().beside
        events.lost = True

        assert watch.drain().beside
