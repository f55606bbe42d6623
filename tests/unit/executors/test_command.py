"""What ``pollinator-executor`` says when it cannot start."""

from __future__ import annotations

import stat
import subprocess
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
