"""Many changes at once, changes at the worst moment, and none at all."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pollinator.daemon.watch.base import Skip, Watch
from pollinator.daemon.watch.inotify import InotifyWatch
from pollinator.daemon.watch.kernel import HEADER, OVERFLOW, Inotify
from pollinator.executors.conformance.trees import random_bytes
from support.projects import Project, project
from support.syncing import read_back
from support.thorough import times

__all__ = ["project"]


FILES, REWRITES = times(2_000, 100_000), times(20_000, 200_000)

# In place: file systems flush a file to the disk that was cut off and written anew.
WRITER = """
import os, sys
from pathlib import Path
root, files, rewrites = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
for number in range(rewrites):
    descriptor = os.open(root / f"d{number % 100}" / f"f{number % files}", os.O_WRONLY)
    os.write(descriptor, b"turn %09d" % number)
    os.close(descriptor)
    if number % 1000 == 0:
        for at in range(20):
            folder = root / f"new{number}" / f"{at}"
            folder.mkdir(parents=True)
            (folder / "f").write_text(f"{number}")
"""


class Counting(Inotify):
    """Counts how often the kernel said that its queue was full; reads it only when it may."""

    def __init__(self) -> None:
        super().__init__()
        self.may_read = threading.Event()
        self.may_read.set()
        self.overflows = 0

    def read(self) -> list[bytes]:
        self.may_read.wait()
        blocks = super().read()
        self.overflows += sum(HEADER.pack(-1, OVERFLOW, 0, 0) in block for block in blocks)
        return blocks


@pytest.mark.timeout(900)
@pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")
@pytest.mark.parametrize("meanwhile", ["nobody reads the queue", "the background works"])
def test_a_burst_that_overflows_the_queue_ends_in_what_is_on_disk(project: Project, meanwhile: str) -> None:
    events = Counting()
    project.watch = lambda root, skip: InotifyWatch(root, skip, events=events)
    for number in range(FILES):
        project.write(f"src/d{number % 100}/f{number}", f"first {number}")
    project.settle()
    before = project.seal()
    command = [sys.executable, "-c", WRITER, str(project.src), str(FILES), str(REWRITES)]
    if meanwhile == "nobody reads the queue":
        events.may_read.clear()
    with subprocess.Popen(command) as writer:
        while events.may_read.is_set() and writer.poll() is None:
            project.engine.step()
            project.engine.wait(0.01)
    events.may_read.set()
    assert 0 == writer.returncode
    sealed = project.seal()

    assert project.disk == read_back(project.store, sealed.ref)
    assert before.report.files + REWRITES // 1000 * 20 == sealed.report.files
    assert 0 == project.engine.status().missed
    if meanwhile == "nobody reads the queue":
        assert events.overflows


@pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")
class TestBursts:
    """More changes than a queue holds."""

    def test_many_rewrites_of_few_files(self, project: Project) -> None:
        for number in range(20):
            project.write(f"src/f{number}", "first")
        project.seal()
        for turn in range(200):
            for number in range(20):
                (project.src / f"f{number}").write_text(f"turn {turn}")

        assert project.disk == project.sealed()

    def test_a_queue_that_overflows_all_the_time(self, project: Project) -> None:
        class Forgetful(Inotify):
            def read(self) -> list[bytes]:
                return [HEADER.pack(-1, OVERFLOW, 0, 0)] if super().read() else []

        def forgetful(root: Path, skip: Skip) -> Watch:
            return InotifyWatch(root, skip, events=Forgetful())

        project.watch = forgetful
        project.write("src/gone", "x")
        project.write("src/d/f", "x")
        assert project.disk == project.sealed()
        (project.src / "gone").unlink()
        project.write("src/d/f", "y")
        project.write("src/new/deep/f", "z")

        assert project.disk == project.sealed()
        assert 0 == project.engine.status().missed


def test_what_is_written_before_a_seal_is_in_it(project: Project) -> None:
    for number in range(300):
        project.write("src/token", f"{number:04}")

        assert b"%04d" % number == project.sealed()["src"][b"token"][2]


def test_a_seal_in_a_storm_has_only_files_as_they_were(project: Project, tmp_path: Path) -> None:
    """Each file is replaced at once by one of another letter: no snapshot holds a mixture."""
    over = threading.Event()

    def storm() -> None:
        for number in itertools.count():
            if over.is_set():
                return
            fresh = tmp_path / "fresh"
            fresh.write_bytes(bytes([65 + number % 26]) * 200_000)
            fresh.replace(project.write(f"src/d{number % 2}/f{number % 3}"))
            if not number % 7:
                shutil.rmtree(project.src / f"d{number % 2}")

    writer = threading.Thread(target=storm)
    writer.start()
    try:
        for _ in range(40):
            for path, (_, _, data) in project.sealed()["src"].items():
                assert len(set(data)) <= 1, path
    finally:
        over.set()
        writer.join()

    assert project.disk == project.sealed()


def work_of(project: Project) -> int:
    """How many functions a seal and a status call when nothing has changed."""
    project.restart()
    while project.settle().backlog.bytes or project.engine.wait(0.1):
        pass
    project.seal()
    project.seal()
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        project.engine.step(news=False)
        project.seal()
        project.engine.status()
    finally:
        sys.setprofile(None)
    return calls


def test_the_work_of_a_seal_without_changes_does_not_grow_with_the_project(project: Project) -> None:
    project.write("src/d/f", "x")
    (project.src / "d/link").symlink_to("f")
    small = work_of(project)
    for number in range(300):
        project.write(f"src/d{number}/f", random_bytes(200, b"%d" % number))
        (project.src / f"d{number}/link").symlink_to("f")
    large = work_of(project)

    assert small - 50 <= large <= small + 50
