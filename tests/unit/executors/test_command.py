"""What ``pollinator-executor`` says when it cannot start."""

from __future__ import annotations

import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.sandbox import BIN


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short name: paths of Unix sockets are limited."""
    with tempfile.TemporaryDirectory(prefix="pol-") as name:
        yield Path(name)


def refusal(kind: str, socket: Path, state: Path) -> str:
    """Its words when it refuses."""
    command = [str(BIN / "pollinator-executor"), kind, "--socket", str(socket), "--state", str(state)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)

    assert 2 == ended.returncode, ended.stderr
    assert "Traceback" not in ended.stderr
    return ended.stderr


def test_a_kind_that_is_not_known_is_refused_and_those_that_are_are_named(folder: Path) -> None:
    words = refusal("lokal", folder / "r" / "x.sock", folder / "state")

    assert "lokal" in words
    assert "local" in words


def test_a_socket_whose_path_is_too_long_is_refused(folder: Path) -> None:
    assert "100 bytes" in refusal("local", folder / ("x" * 120), folder / "state")


def test_a_folder_that_everybody_shares_is_refused_and_left_alone(folder: Path) -> None:
    folder.chmod(0o1777)

    assert "shared" in refusal("local", folder / "x.sock", folder / "state")
    assert 0o1777 == stat.S_IMODE(folder.stat().st_mode)


def test_a_state_folder_that_is_a_file_is_refused(folder: Path) -> None:
    (folder / "state").write_text("no folder")

    assert str(folder / "state") in refusal("local", folder / "r" / "x.sock", folder / "state")


WITHOUT_LOCKS = """
import errno, fcntl
def none_here(descriptor, operation):
    raise OSError(errno.ENOSYS, "Function not implemented")
fcntl.flock = none_here
from pollinator.executors.main import main
main()
"""


def without_locks(folder: Path, *arguments: str) -> list[str]:
    """The command, where the file system of the state has no locks."""
    places = "--socket", str(folder / "x.sock"), "--state", str(folder / "state")
    return [sys.executable, "-c", WITHOUT_LOCKS, *arguments, *places]


@pytest.mark.parametrize("arguments", [("local",), ("local", "--shared"), ("slurm",)])
def test_a_state_without_locks_is_refused_where_they_are_needed(
    folder: Path, arguments: tuple[str, ...]
) -> None:
    ended = subprocess.run(
        without_locks(folder, *arguments), capture_output=True, text=True, timeout=30, check=False
    )

    assert 2 == ended.returncode, ended.stderr
    assert "Traceback" not in ended.stderr
    assert f"the file system of {folder}/state has no locks" in ended.stderr
    assert "ssh.dir" in ended.stderr


def test_an_executor_of_a_cluster_starts_where_there_are_no_locks_and_there_is_one_on_this_machine(
    folder: Path,
) -> None:
    command = without_locks(folder, "slurm", "--shared")
    with subprocess.Popen(command, stderr=subprocess.PIPE) as first:
        try:
            assert first.stderr is not None
            listening = next(line for line in first.stderr if b"listening" in line)
            second = subprocess.run(command, capture_output=True, timeout=30, check=False)
        finally:
            first.kill()

    assert str(folder / "x.sock").encode() in listening
    assert (0, False) == (second.returncode, b"listening" in second.stderr)
