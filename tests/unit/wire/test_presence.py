"""Whether somebody is there: the lock, where its holder listens, and who may wait for it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pollinator.wire import places
from pollinator.wire.presence import Holder, announce, answers, find_daemon, holder_of, take_lock

HOLD = """
import sys, time
from pathlib import Path
from pollinator.wire.presence import announce, take_lock
lock = take_lock(Path(sys.argv[1]), 0)
if sys.argv[2]:
    announce(lock, Path(sys.argv[2]))
print("held", flush=True)
time.sleep(60)
"""


@contextmanager
def held(lock: Path, at: Path | str = "") -> Generator[subprocess.Popen[bytes]]:
    """Another process holds the lock and has announced where it listens."""
    with subprocess.Popen([sys.executable, "-c", HOLD, lock, at], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert b"held\n" == process.stdout.readline()
            yield process
        finally:
            process.kill()


@contextmanager
def listening(path: Path) -> Generator[None]:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.fspath(path))
        server.listen()
        yield


@pytest.fixture
def folder() -> Path:
    """One with a short name, for sockets; the daemon's folders are there as well."""
    places.private_dir(places.state_dir())
    return places.private_dir(places.runtime_dir())


def test_a_socket_answers_only_while_somebody_listens(folder: Path) -> None:
    path = folder / "x.sock"
    with listening(path):
        assert answers(path)

    assert path.exists()
    assert not answers(path)
    assert not answers(folder / "nothing.sock")


def test_who_holds_the_lock_is_known_from_its_file(folder: Path) -> None:
    lock = take_lock(folder / "lock", 0)
    assert lock is not None
    assert holder_of(folder / "lock") is None

    announce(lock, folder / "x.sock")

    assert Holder(os.getpid(), folder / "x.sock") == holder_of(folder / "lock")
    os.close(lock)


def test_a_free_lock_is_taken_whatever_its_last_holder_wrote(folder: Path) -> None:
    with held(folder / "lock", folder / "x.sock"):
        pass

    lock = take_lock(folder / "lock", 0)

    assert lock is not None
    assert holder_of(folder / "lock") is None
    os.close(lock)


def test_a_holder_that_answers_keeps_the_lock_and_is_not_waited_for(folder: Path) -> None:
    with listening(folder / "x.sock"), held(folder / "lock", folder / "x.sock"):
        began = time.monotonic()

        assert take_lock(folder / "lock", 30) is None
        assert take_lock(folder / "lock", 30, moving_to=folder / "x.sock") is None
        assert time.monotonic() - began < 10


def test_a_holder_that_is_just_ending_is_waited_for(folder: Path) -> None:
    with held(folder / "lock", folder / "gone.sock") as process:
        threading.Timer(0.2, process.kill).start()

        lock = take_lock(folder / "lock", 30)

        assert lock is not None
        os.close(lock)


def test_a_holder_that_says_nothing_is_waited_for_until_the_time_is_over(folder: Path) -> None:
    with held(folder / "lock"):
        assert take_lock(folder / "lock", 0.1) is None


def test_a_holder_that_listens_elsewhere_is_told_to_end(folder: Path) -> None:
    with listening(folder / "old.sock"), held(folder / "lock", folder / "old.sock") as process:
        lock = take_lock(folder / "lock", 30, moving_to=folder / "new.sock")

        assert lock is not None
        assert -signal.SIGTERM == process.wait(10)
        os.close(lock)


def test_the_daemon_is_found_where_it_usually_listens(folder: Path) -> None:
    assert find_daemon() is None
    with listening(places.daemon_socket()):
        assert places.daemon_socket() == find_daemon()
    assert find_daemon() is None


def test_the_daemon_of_another_session_is_found_by_its_lock(folder: Path) -> None:
    elsewhere = folder / "other.sock"
    with listening(elsewhere), held(places.daemon_lock(), elsewhere):
        assert elsewhere == find_daemon()
    assert find_daemon() is None


@pytest.mark.parametrize("text", ["", "12\n", "x\n/y\n", "\n\n\n"])
def test_what_is_no_announcement_names_nobody(folder: Path, text: str) -> None:
    (folder / "lock").write_text(text)

    assert holder_of(folder / "lock") is None
    assert holder_of(folder / "missing") is None
