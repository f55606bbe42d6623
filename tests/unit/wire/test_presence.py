"""Whether somebody is there: the lock, where its holder listens, and who may wait for it."""

from __future__ import annotations

import errno
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


LOCKLESS = """
import errno, fcntl, os, sys
def none_here(descriptor, operation):
    raise OSError(int(sys.argv[3]), os.strerror(int(sys.argv[3])))
fcntl.flock = none_here
import time
from pathlib import Path
from pollinator.wire.errors import WrongState
from pollinator.wire.presence import take_lock
try:
    lock = take_lock(Path(sys.argv[1]), 0, by_machine=sys.argv[2] == "by_machine")
except WrongState as error:
    print(error.reason, error.message, error.hint)
else:
    print("taken" if lock is not None else "held by another", flush=True)
    time.sleep(60 if sys.argv[4] == "stay" else 0)
"""
"""Takes a lock on a file system without any."""


def lockless(lock: Path, *, by_machine: bool, answer: int, stay: bool = False) -> list[str | Path]:
    words = "by_machine" if by_machine else "", str(answer), "stay" if stay else ""
    return [sys.executable, "-c", LOCKLESS, lock, *words]


def said(lock: Path, *, by_machine: bool, answer: int = errno.ENOSYS) -> str:
    command = lockless(lock, by_machine=by_machine, answer=answer)
    return subprocess.run(command, capture_output=True, check=True, text=True).stdout


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


NO_LOCKS = [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK]


@pytest.mark.parametrize("answer", NO_LOCKS)
def test_where_the_file_system_has_no_locks_that_is_said_with_what_to_do(folder: Path, answer: int) -> None:
    words = said(folder / "lock", by_machine=False, answer=answer)

    assert f"no_locks the file system of {folder} has no locks: {os.strerror(answer)}" in words
    assert "-o flock" in words


@pytest.mark.parametrize("answer", NO_LOCKS)
def test_a_state_of_which_machines_tell_each_other_has_one_process_of_this_machine_also_without_locks(
    folder: Path, answer: int
) -> None:
    (folder / "link").symlink_to(folder)
    command = lockless(folder / "lock", by_machine=True, answer=answer, stay=True)
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        second = said(folder / "link" / "lock", by_machine=True)
        process.kill()
    third = said(folder / "lock", by_machine=True)

    assert (b"taken\n", "held by another\n", "taken\n") == (first, second, third)


def test_locks_that_there_are_hold_whatever_this_machine_says(folder: Path) -> None:
    with held(folder / "lock"):
        assert take_lock(folder / "lock", 0.1, by_machine=True) is None


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
