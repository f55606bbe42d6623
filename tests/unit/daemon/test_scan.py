"""Stat passes and when stamps can be trusted."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from pollinator.daemon import scan as under_test
from pollinator.daemon.scan import (
    LOCAL_WINDOW_NS,
    NETWORK_WINDOW_NS,
    SECONDS_WINDOW_NS,
    Kind,
    Stamp,
    is_racy,
    look,
    racy_window_ns,
    scan,
)
from support.people import ground, nobody

__all__ = ["ground"]
NOW = 1_700_000_000_123_456_789


def stamp(mtime_ns: int, ctime_ns: int | None = None) -> Stamp:
    return Stamp(1, mtime_ns, mtime_ns if ctime_ns is None else ctime_ns, 2, 3, stat.S_IFREG | 0o644)


def found(root: Path, below: bytes = b"") -> dict[bytes, Kind]:
    return {path: kind for path, kind, _ in scan(os.fsencode(root), below)}


def test_everything_below_a_directory_is_found_with_its_kind(tmp_path: Path) -> None:
    (tmp_path / "d/empty").mkdir(parents=True)
    (tmp_path / "d/f").write_text("x")
    (tmp_path / "link").symlink_to("d")
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as server:
        place = os.getcwd()
        os.chdir(tmp_path)
        server.bind("socket")
        os.chdir(place)

    assert found(tmp_path) == {
        b"d": Kind.DIRECTORY,
        b"d/empty": Kind.DIRECTORY,
        b"d/f": Kind.FILE,
        b"link": Kind.LINK,
        b"fifo": Kind.OTHER,
        b"socket": Kind.OTHER,
    }
    assert found(tmp_path, b"d") == {b"d/empty": Kind.DIRECTORY, b"d/f": Kind.FILE}


def test_a_directory_comes_before_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "a/b/c").mkdir(parents=True)

    order = [path for path, _, _ in scan(os.fsencode(tmp_path))]

    assert sorted(order) == order


def test_what_is_ignored_is_left_out_with_all_below(tmp_path: Path) -> None:
    (tmp_path / "out/deep").mkdir(parents=True)
    (tmp_path / "in").mkdir()
    (tmp_path / "in/out").touch()
    asked: list[tuple[bytes, bool]] = []

    def ignored(path: bytes, is_dir: bool) -> bool:
        asked.append((path, is_dir))
        return path.endswith(b"out")

    left = {path for path, _, _ in scan(os.fsencode(tmp_path), b"", ignored)}

    assert {b"in"} == left
    assert {(b"out", True), (b"in", True), (b"in/out", False)} == set(asked)


def test_a_missing_directory_holds_nothing(tmp_path: Path) -> None:
    (tmp_path / "f").touch()

    assert not found(tmp_path, b"missing")
    assert not found(tmp_path, b"f")


def test_a_directory_that_cannot_be_read_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "closed").mkdir()
    (tmp_path / "open").mkdir()
    real = os.scandir

    def refuse(path: bytes) -> object:
        if path.endswith(b"closed"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)
    unknown: dict[bytes, int | None] = {}

    def tell(path: bytes, error: OSError) -> None:
        unknown[path] = error.errno

    kinds = sorted((path, kind) for path, kind, _ in scan(os.fsencode(tmp_path), unknown=tell))

    assert [(b"closed", Kind.DIRECTORY), (b"open", Kind.DIRECTORY)] == kinds
    assert {b"closed": 13} == unknown
    with pytest.raises(PermissionError):
        list(scan(os.fsencode(tmp_path)))


def test_entries_that_can_be_listed_but_not_looked_at_are_reported(ground: Path) -> None:
    """A directory that may be read but not searched."""
    (ground / "listed").mkdir()
    (ground / "listed/f").touch()
    (ground / "listed").chmod(0o444)
    unknown: list[bytes] = []
    with nobody():
        kinds = [
            (path, kind)
            for path, kind, _ in scan(os.fsencode(ground), unknown=lambda path, _: unknown.append(path))
        ]

    assert [(b"listed", Kind.DIRECTORY)] == kinds
    assert [b"listed/f"] == unknown


def test_names_that_are_not_text_are_found(tmp_path: Path) -> None:
    os.close(os.open(os.fsencode(tmp_path) + b"/\xff\n", os.O_CREAT | os.O_WRONLY))

    assert found(tmp_path) == {b"\xff\n": Kind.FILE}


def test_looking_at_one_path_does_not_follow_it(tmp_path: Path) -> None:
    root = os.fsencode(tmp_path)
    (tmp_path / "link").symlink_to("nowhere")
    seen = look(root, b"link")

    assert seen is not None
    assert seen[:2] == (b"link", Kind.LINK)
    assert look(root, b"nothing") is None
    assert look(root, b"link/below") is None


def test_a_stamp_shows_a_rewrite_and_a_replacement(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_text("one")
    first_info = file.stat()
    first = Stamp.of(first_info)
    (tmp_path / "g").write_text("two")
    os.utime(tmp_path / "g", ns=(first.mtime_ns, first.mtime_ns))
    (tmp_path / "g").replace(file)
    second = Stamp.of(file.stat())

    assert first == Stamp.of(first_info)
    assert first != second
    file.chmod(0o600)
    assert second != Stamp.of(file.stat())


def test_a_stamp_is_kept_as_its_bytes() -> None:
    kept = Stamp.stored(bytes(Stamp(1, -2, NOW, 2**64 - 1, 5, stat.S_IFREG | 0o644)))

    assert (1, -2, NOW, 2**64 - 1, 5, stat.S_IFREG | 0o644) == (
        kept.size, kept.mtime_ns, kept.ctime_ns, kept.ino, kept.dev, kept.mode
    )  # fmt: skip
    with pytest.raises(ValueError, match="44 bytes"):
        Stamp.stored(b"x")


def test_a_time_after_2262_is_in_the_future_all_the_same() -> None:
    assert is_racy(stamp(2**63 + 5), NOW, NOW)


@pytest.mark.parametrize(
    ("age_ns", "racy"),
    [(-1, True), (0, True), (LOCAL_WINDOW_NS, True), (LOCAL_WINDOW_NS + 1, False), (10**12, False)],
)
def test_a_stamp_is_trusted_when_it_was_older_than_the_window_at_reading(age_ns: int, racy: bool) -> None:
    assert racy == is_racy(stamp(NOW - age_ns), NOW, NOW + 10**12)
    assert racy == is_racy(stamp(0, NOW - age_ns), NOW, NOW + 10**12)


def test_a_stamp_of_whole_seconds_needs_two_of_them() -> None:
    second = 1_700_000_000 * 10**9

    assert is_racy(stamp(second), second + SECONDS_WINDOW_NS, second + 10**10)
    assert not is_racy(stamp(second), second + SECONDS_WINDOW_NS + 1, second + 10**10)
    assert not is_racy(stamp(second, second + 1), second + LOCAL_WINDOW_NS + 2, second + 10**10)


def test_a_stamp_from_the_future_is_never_trusted() -> None:
    """The clock was set back between reading and now."""
    assert is_racy(stamp(NOW), NOW + 10**12, NOW - 1)


def test_a_shared_file_system_has_a_longer_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert racy_window_ns(tmp_path) == LOCAL_WINDOW_NS

    def shared(_path: Path) -> bool:
        return True

    monkeypatch.setattr(under_test, "is_network_fs", shared)

    assert racy_window_ns(tmp_path) == NETWORK_WINDOW_NS
