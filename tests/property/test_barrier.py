"""The barrier: whatever was completed before a drain is announced by it, under every kind of change."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pollinator.daemon.watch.kernel import HEADER, OVERFLOW, Inotify
from support.watching import Mirror, Mischief, inotify

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")

TRIALS = 2500


@pytest.fixture(params=["disk", "memory"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A directory on the usual file system and one on tmpfs."""
    if request.param == "disk":
        (tmp_path / "root").mkdir()
        yield tmp_path / "root"
        return
    if not os.access("/dev/shm", os.W_OK):
        pytest.skip("there is no /dev/shm to write to")
    base = tempfile.mkdtemp(dir="/dev/shm")
    yield Path(base)
    shutil.rmtree(base)
    shutil.rmtree(base + ".outside", ignore_errors=True)


def test_every_completed_change_is_announced_by_the_next_drain(root: Path) -> None:
    make_a_change = Mischief(root, seed=1)
    with inotify(root) as watch:
        for trial in range(TRIALS):
            changed = make_a_change()

            changes = watch.drain()
            missed = [path for path in changed if not changes.covers(path)]

            assert not missed, f"trial {trial}"


def test_a_mirror_kept_by_announcements_alone_equals_the_disk(root: Path) -> None:
    make_a_change = Mischief(root, seed=2)
    mirror = Mirror(root)
    with inotify(root) as watch:
        for step in range(250):
            for _ in range(step % 7):
                make_a_change()
            mirror.apply(watch.drain())

            assert mirror.truth() == mirror.seen, f"step {step}"


WRITER = """
import sys
from pathlib import Path
from support.watching import Mischief
make_a_change = Mischief(Path(sys.argv[1]), seed=int(sys.argv[2]))
for _ in range(400):
    make_a_change()
"""


@pytest.mark.parametrize("seed", [3, 4])
def test_drains_during_a_storm_leave_nothing_out(root: Path, seed: int) -> None:
    mirror = Mirror(root)
    with inotify(root) as watch:
        command = [sys.executable, "-c", WRITER, str(root), str(seed)]
        path = os.pathsep.join(sys.path)
        with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path}) as writer:
            while writer.poll() is None:
                watch.wait(0.01)
                mirror.apply(watch.drain())
        assert not writer.returncode
        mirror.apply(watch.drain())

        assert mirror.truth() == mirror.seen
        _write_into_every_directory(mirror)
        mirror.apply(watch.drain())

        assert mirror.truth() == mirror.seen, "a directory has lost its watch"


OVERFLOWED = HEADER.pack(-1, OVERFLOW, 0, 0)


class Forgetful(Inotify):
    """Every so often, an overflow in place of the events, as the kernel reports it when its queue is full."""

    calls = 0

    def read(self) -> list[bytes]:
        """Sometimes lose everything."""
        blocks = super().read()
        self.calls += 1
        if blocks and self.calls % 3 == 0:
            return [OVERFLOWED]
        return blocks


def test_overflows_cost_a_look_at_everything_but_lose_nothing(root: Path) -> None:
    make_a_change = Mischief(root, seed=5)
    mirror = Mirror(root)
    with inotify(root, events=Forgetful()) as watch:
        for step in range(150):
            for _ in range(step % 7):
                make_a_change()
            mirror.apply(watch.drain())

            assert mirror.truth() == mirror.seen, f"step {step}"


def _write_into_every_directory(mirror: Mirror) -> None:
    for path, stamp in mirror.truth().items():
        if stamp.ino == 0:
            Path(os.fsdecode(os.path.join(mirror.root, path)), "probe").write_text("x")
