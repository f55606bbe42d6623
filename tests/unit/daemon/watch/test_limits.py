"""What the inotify watcher does when the system has no more to give: a full queue, no watches, no access."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pollinator.daemon.watch import inotify as under_test
from pollinator.daemon.watch.base import Changes
from pollinator.daemon.watch.inotify import InotifyWatch
from pollinator.daemon.watch.kernel import Inotify, limit
from pollinator.daemon.watch.poll import PollWatch
from support.watching import inotify, nothing, started

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")

QUEUE_LIMIT = Path("/proc/sys/fs/inotify/max_queued_events")


def in_a_user_namespace(setting: str, program: str, *arguments: str) -> tuple[str, str, list[int]]:
    """Run a program under a limit of its own, which touches nobody else's watches."""
    name, _, value = setting.partition("=")
    script = f'echo {value} > /proc/sys/user/{name} && exec "$@"'
    command = ["unshare", "-Ur", "sh", "-c", script, "sh", sys.executable, "-c", program, *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if "unshare" in done.stderr or "Permission denied" in done.stderr:
        pytest.skip(f"no user namespaces here: {done.stderr.strip()}")
    assert not done.returncode, done.stderr
    kind, degraded, covered = json.loads(done.stdout)
    return kind, degraded, covered


def test_a_full_queue_makes_everything_suspect_and_watching_goes_on(tmp_path: Path) -> None:
    usual = QUEUE_LIMIT.read_text()
    if not os.access(QUEUE_LIMIT, os.W_OK):
        pytest.skip(f"{QUEUE_LIMIT} can be lowered by root only")
    QUEUE_LIMIT.write_text("8")
    try:
        events = Inotify()  # The limit is taken when the instance is made.
    finally:
        QUEUE_LIMIT.write_text(usual)
    with inotify(tmp_path, events=events) as watch:
        for number in range(100):
            (tmp_path / f"d{number}").mkdir()

        changes = watch.drain()
        while b"" not in changes.subtrees:
            for number in range(100):
                (tmp_path / f"d{number}").chmod(0o700)
            changes = watch.drain()

        assert {b""} == changes.subtrees
        for number in range(100):
            (tmp_path / f"d{number}/f").touch()
            changes = watch.drain()

            assert changes.covers(f"d{number}/f".encode())


POLLING = """
import json, sys
from pathlib import Path
from pollinator.daemon.watch.choose import open_watch
root = Path(sys.argv[1])
watch = open_watch(root, lambda path: False)
watch.start()
watch.drain()
for number in range(20):
    (root / f"d{number}/late").touch()
changes = watch.drain()
covered = [number for number in range(20) if changes.covers(b"d%d/late" % number)]
print(json.dumps([watch.kind, watch.degraded, covered]))
watch.close()
"""

EVERYWHERE = list(range(20))


def test_without_watches_left_the_rest_is_polled_and_the_setting_named(tmp_path: Path) -> None:
    for number in EVERYWHERE:
        (tmp_path / f"d{number}/sub").mkdir(parents=True)

    kind, degraded, covered = in_a_user_namespace("max_inotify_watches=5", POLLING, str(tmp_path))

    assert InotifyWatch.kind == kind
    assert covered == EVERYWHERE
    assert "36 of 41 directories" in degraded
    assert "sudo sysctl fs.inotify.max_user_watches=" in degraded
    assert int(degraded.rpartition("=")[2]) > limit("max_user_watches")


def test_without_an_instance_everything_is_polled_and_the_setting_named(tmp_path: Path) -> None:
    for number in EVERYWHERE:
        (tmp_path / f"d{number}").mkdir()

    kind, degraded, covered = in_a_user_namespace("max_inotify_instances=0", POLLING, str(tmp_path))

    assert PollWatch.kind == kind
    assert covered == EVERYWHERE
    assert "sudo sysctl fs.inotify.max_user_instances=" in degraded
    assert int(degraded.rpartition("=")[2]) > limit("max_user_instances")


class Stingy(Inotify):
    """Gives only so many watches."""

    def __init__(self, left: int) -> None:
        super().__init__()
        self.left = left

    def add(self, path: bytes, mask: int) -> int:
        """Refuse when none is left."""
        if self.left <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        self.left -= 1
        return super().add(path, mask)


def test_watches_that_become_free_are_used(tmp_path: Path) -> None:
    now = [0.0]
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    events = Stingy(2)
    with started(InotifyWatch(tmp_path, nothing, events=events, clock=lambda: now[0])) as watch:
        assert "2 of 4 directories" in watch.degraded
        assert len(watch.drain().subtrees) == 2
        events.left = 100
        now[0] += under_test.RETRY_S + 1
        watch.drain()

        assert not watch.degraded
        (tmp_path / "c/f").touch()
        (tmp_path / "b/f").touch()

        assert Changes(paths=frozenset((b"b/f", b"c/f"))) == watch.drain()


def test_a_polled_directory_is_due_again_after_a_while(tmp_path: Path) -> None:
    now = [0.0]
    (tmp_path / "a").mkdir()
    watch = InotifyWatch(tmp_path, nothing, events=Stingy(1), clock=lambda: now[0])
    with started(watch):
        assert not watch.wait(0)
        now[0] += 3

        assert watch.wait(0)


def test_a_directory_that_may_not_be_read_is_watched_once_it_may(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir()

    class Refusing(Inotify):
        refuse = True

        def add(self, path: bytes, mask: int) -> int:
            if self.refuse and path.endswith(b"closed"):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
            return super().add(path, mask)

    events = Refusing()
    with inotify(tmp_path, events=events) as watch:
        events.refuse = False
        (tmp_path / "closed").chmod(0o711)

        assert {b"closed"} == watch.drain().subtrees
        (tmp_path / "closed/f").touch()

        assert {b"closed/f"} == watch.drain().paths


def test_a_network_mount_below_the_root_is_polled(tmp_path: Path) -> None:
    (tmp_path / "data/mounted").mkdir(parents=True)
    watch = InotifyWatch(tmp_path, nothing, remote=frozenset((b"data/mounted",)))
    with started(watch):
        assert "data/mounted" in watch.degraded
        assert {b"data/mounted"} == watch.drain().subtrees
