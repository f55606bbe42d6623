"""Sealing a plain folder once."""

from __future__ import annotations

import os
from pathlib import Path

from pollinator.chunks.capture import capture
from pollinator.chunks.read import SnapshotReader
from pollinator.executors.conformance.trees import random_bytes
from support.people import ground, nobody
from support.storing import MemoryStore, listed
from support.syncing import nested, tree_listing

__all__ = ["ground"]


def captured(folder: Path) -> tuple[dict[bytes, tuple[str, int, bytes]], tuple[str, ...]]:
    """What was taken of a folder, read from the store alone, and what was left out."""
    store = MemoryStore()
    taken = capture(folder, store)
    reader = SnapshotReader(store)
    tree = reader.open(taken.ref).result
    found = tree_listing(reader, tree)
    files = [data for kind, _, data in found.values() if kind == "file"]
    assert (len(files), sum(map(len, files))) == (tree.files, tree.bytes)
    return found, taken.skipped


def test_a_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "d/empty").mkdir(parents=True)
    (tmp_path / "d/f").write_bytes(random_bytes(1000))
    (tmp_path / "d/run").touch(mode=0o755)
    (tmp_path / "big").write_bytes(random_bytes(5_000_000))
    (tmp_path / "link").symlink_to("/somewhere/else")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\n")).write_bytes(b"odd")

    assert (listed(tmp_path), ()) == captured(tmp_path)


def test_what_is_no_file_folder_or_link_is_left_out_and_named(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    os.mkfifo(os.fsencode(tmp_path) + b"/d/pipe\xff")
    (tmp_path / "f").touch()
    found, skipped = captured(tmp_path)

    assert {b"d", b"f"} == found.keys()
    assert ("d/pipe\\xff: no file, folder or link",) == skipped


def test_what_cannot_be_read_is_left_out_and_named(ground: Path) -> None:
    (ground / "closed").mkdir(mode=0)
    (ground / "f").touch(mode=0)
    (ground / "g").touch()
    with nobody():
        found, skipped = captured(ground)

    assert {b"g"} == found.keys()
    assert ["closed", "f"] == sorted(each.partition(":")[0] for each in skipped)


def test_a_folder_nested_deeper_than_calls_is_taken(tmp_path: Path) -> None:
    with nested(tmp_path, 1500):
        found, skipped = captured(tmp_path)

    assert 1500 == len(found)
    assert () == skipped
