"""What of the results is fetched and read, and what is known already."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pollinator.chunks.digest import digest_of
from pollinator.daemon.sync import results as under_test
from pollinator.daemon.sync import versions
from pollinator.daemon.sync.results import Applied
from pollinator.executors.conformance.trees import Link, Listing, random_bytes
from pollinator.wire.errors import Corrupt
from support.homes import Home, home
from support.people import ground, nobody

__all__ = ["ground", "home"]


def test_many_files_are_fetched_together(home: Home) -> None:
    files = {b"%03d" % at: random_bytes(500, b"%d" % at) for at in range(300)}
    home.bring("r1", {b"d": files, **files})
    packs = {key for key, _, _ in home.store.gets}

    assert {b"d/" + name: data for name, data in files.items()} | files == home.found
    assert len(packs) == len(home.store.gets)


def test_one_damaged_file_keeps_no_other_back_and_is_named(home: Home) -> None:
    files = {b"%02d" % at: random_bytes(2000, b"%d" % at) for at in range(20)}
    with pytest.raises(Corrupt) as caught:
        home.bring("r1", files, damaged=files[b"07"])

    assert digest_of(files[b"07"]).hex() in caught.value.message
    assert {name: data for name, data in files.items() if name != b"07"} == home.found


def counted(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    read = versions.read_version

    def reading(folder: int, name: bytes, size: int) -> bytes:
        home.read.append(name)
        return read(folder, name, size)

    monkeypatch.setattr(versions, "read_version", reading)


def never_racy(*_: object) -> bool:
    """As a while later."""
    return False


def old(home: Home) -> None:
    """All files were written long ago: an edit now shows in the time."""
    for path in home.folder.rglob("*"):
        os.utime(path, (1, 1), follow_symlinks=False)


def test_what_is_known_by_its_stamp_is_not_read_again(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    listing: Listing = {b"f": b"one", b"d": {b"g": b"two" * 100}}
    counted(home, monkeypatch)
    monkeypatch.setattr(under_test, "LOCAL_WINDOW_NS", -(10**12))
    monkeypatch.setattr(under_test, "is_racy", never_racy)
    applied = [(home.bring("r1", listing), [*home.read]) for _ in range(2)]
    old(home)
    applied += [(home.bring("r1", listing), sorted(home.read)) for _ in range(2)]

    assert [
        (Applied(2, 0, ()), []),
        (Applied(0, 2, ()), []),
        (Applied(0, 2, ()), [b"f", b"g"]),
        (Applied(0, 2, ()), []),
    ] == applied


def test_a_stamp_that_could_hide_an_edit_is_not_believed(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    counted(home, monkeypatch)
    monkeypatch.setattr(under_test, "LOCAL_WINDOW_NS", 10**18)
    home.bring("r1", {b"f": b"one"})
    home.bring("r1", {b"f": b"one"})

    assert [b"f"] == home.read


def test_an_edit_of_the_same_size_and_time_is_seen(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "LOCAL_WINDOW_NS", -(10**12))
    home.bring("r1", {b"f": b"one"})
    info = (home.folder / "f").stat()
    (home.folder / "f").write_bytes(b"ONE")
    os.utime(home.folder / "f", ns=(info.st_atime_ns, info.st_mtime_ns))
    home.bring("r2", {b"f": b"one"})

    assert {b"f": b"ONE", b"f.r2": b"one"} == home.found


def test_what_a_killed_daemon_had_fetched_is_cleared_away(home: Home) -> None:
    left = home.folder / ".pollinator-0123456789abcdefresults"
    left.mkdir()
    (left / "7").write_text("half")
    home.bring("r1", {b"f": b"one"})

    assert {b"f": b"one"} == home.found
    assert ["f"] == os.listdir(home.folder)


def test_results_come_home_where_only_the_folders_below_can_be_written(ground: Path) -> None:
    with nobody():
        home = Home(ground)
        (home.folder / "d").mkdir()
        home.folder.chmod(0o555)
        home.bring("r1", {b"d": {b"f": b"one" * 100, b"l": Link(b"f")}})

        assert {b"d/f": b"one" * 100, b"d/l": b"f"} == home.found
        assert ["f", "l"] == sorted(os.listdir(home.folder / "d"))


def test_how_far_results_are_is_told_within_large_files_and_of_those_that_are_here(home: Home) -> None:
    listing: Listing = {b"a": b"here", b"big": random_bytes(24 << 20)}
    home.bring("r1", {b"a": b"here"})
    home.told.clear()
    home.bring("r1", listing)

    assert 4 == home.told[0]
    assert (24 << 20) + 4 == home.told[-1]
    assert sorted(home.told) == home.told
    assert len(set(home.told)) > 3
