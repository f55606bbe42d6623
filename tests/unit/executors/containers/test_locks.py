"""One at a time, also where the file system has no locks."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pollinator.executors.containers.locks import STALE_S, locked


class Enough(Exception):
    """The waiting is over."""


def never() -> None:
    raise Enough


def none_here(descriptor: int, operation: int) -> None:
    raise OSError(errno.ENOLCK, "no locks available")


@pytest.fixture(params=["kernel", "files"])
def lock(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A lock, on either kind of file system."""
    if request.param == "files":
        monkeypatch.setattr(fcntl, "flock", none_here)
    return tmp_path / "image.lock"


@pytest.fixture
def owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that is the lock where there is no other."""
    monkeypatch.setattr(fcntl, "flock", none_here)
    return tmp_path / "image.owner"


def test_it_is_held_by_one_at_a_time(lock: Path) -> None:
    with locked(lock, never), pytest.raises(Enough), locked(lock, never):
        pass
    with locked(lock, never):
        pass


def test_many_threads_get_it_in_turn(lock: Path) -> None:
    inside: list[int] = []
    most: list[int] = []

    def work() -> None:
        with locked(lock, lambda: None):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.001)
            inside.pop()

    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [1] * 5 == most


def test_an_error_lets_go_of_it(lock: Path) -> None:
    with pytest.raises(ValueError, match="x"), locked(lock, never):
        raise ValueError("x")
    with locked(lock, never):
        pass


def test_it_is_held_on_nfs_which_locks_only_what_is_open_for_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = fcntl.flock

    def like_nfs(descriptor: int, operation: int) -> None:
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "bad file descriptor")
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", like_nfs)
    with locked(tmp_path / "image.lock", never):
        owned = (tmp_path / "image.owner").exists()

    assert not owned


def test_whoever_may_write_to_the_folder_may_wait_for_a_lock_in_it(tmp_path: Path) -> None:
    tmp_path.chmod(0o770)
    with locked(tmp_path / "image.lock", never):
        pass

    assert 0o660 == (tmp_path / "image.lock").stat().st_mode & 0o777


def gone_pid() -> int:
    child = subprocess.Popen(["true"])
    child.wait()
    return child.pid


@pytest.mark.parametrize(
    "text",
    [
        lambda: json.dumps({"host": socket.gethostname(), "pid": gone_pid(), "at": 1}),
        lambda: "",
        lambda: json.dumps({"host": "another", "pid": 1, "at": 1}),
    ],
    ids=["owner_is_gone", "never_written", "another_machine"],
)
def test_a_lock_that_nobody_holds_is_no_obstacle(owner: Path, text: Callable[[], str]) -> None:
    owner.write_text(text())
    os.utime(owner, (0, time.time() - STALE_S - 1))
    with locked(owner.with_suffix(".lock"), never):
        held = json.loads(owner.read_text())["pid"]

    assert os.getpid() == held
    assert not owner.exists()
    assert ["image.lock"] == [path.name for path in owner.parent.iterdir()]


@pytest.mark.parametrize("host", ["another", socket.gethostname()])
def test_a_lock_that_somebody_holds_is_respected(owner: Path, host: str) -> None:
    owner.write_text(json.dumps({"host": host, "pid": os.getpid(), "at": 1}))
    with pytest.raises(Enough), locked(owner.with_suffix(".lock"), never):
        pass

    assert owner.exists()
