"""A change in a large file costs what changed, and reading the file once."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from pollinator.chunks.cut import MAX_CHUNK
from pollinator.chunks.digest import digest_of
from pollinator.daemon.sync import outbox
from pollinator.executors.conformance.trees import random_bytes
from pollinator.wire.errors import PollinatorError, Unavailable
from support.projects import Project, project
from support.storing import MemoryStore
from support.syncing import read_back

__all__ = ["project"]

MEBI = 1024 * 1024
DATA = random_bytes(24 * MEBI)
MIDDLE = 12 * MEBI


class Hashed:
    """How many bytes of chunks were named."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bytes = 0

        def counting(data: bytes | memoryview) -> bytes:
            self.bytes += len(data)
            return digest_of(data)

        monkeypatch.setattr("pollinator.chunks.cut.digest_of", counting)


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> Hashed:
    return Hashed(monkeypatch)


@pytest.fixture
def large(project: Project) -> Path:
    """A large file that was sealed, long after it was written."""
    project.clock_ns = lambda: time.time_ns() + 60 * 10**9
    file = project.write("data/large", DATA)
    project.seal()
    return file


def overwrite(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.seek(MIDDLE)
        opened.write(bytes([DATA[MIDDLE] ^ 1]))


def insert(file: Path) -> None:
    file.write_bytes(DATA[:MIDDLE] + b"!" + DATA[MIDDLE:])


def test_one_byte_overwritten_sends_one_chunk_and_hashes_little(
    project: Project, large: Path, hashed: Hashed
) -> None:
    hashed.bytes = 0
    overwrite(large)
    sealed = project.seal()

    assert sealed.report.bytes_uploaded <= 1.05 * MAX_CHUNK
    assert hashed.bytes < len(DATA) / 2
    assert project.disk == project.sealed()


def test_one_byte_inserted_sends_at_most_two_chunks_and_hashes_little(
    project: Project, large: Path, hashed: Hashed
) -> None:
    hashed.bytes = 0
    insert(large)
    sealed = project.seal()

    assert sealed.report.bytes_uploaded <= 2.1 * MAX_CHUNK
    assert hashed.bytes < len(DATA) / 2
    assert project.disk == project.sealed()


def test_what_changed_while_nobody_looked_costs_no_more(
    project: Project, large: Path, hashed: Hashed
) -> None:
    project.restart()
    hashed.bytes = 0
    overwrite(large)

    assert project.disk == project.sealed()
    assert 0 < hashed.bytes < len(DATA) / 2


def test_a_file_that_was_only_touched_is_read_and_its_end_hashed(
    project: Project, large: Path, hashed: Hashed
) -> None:
    hashed.bytes = 0
    os.utime(large)
    sealed = project.seal()

    assert 0 < hashed.bytes <= 3 * MAX_CHUNK
    assert 0 == sealed.report.bytes_uploaded


def test_chunks_that_did_not_get_into_the_store_are_given_again(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "BACK_OFF_S", 0.0)
    assert isinstance(project.store, MemoryStore)
    project.store.fail_puts += [Unavailable("the store is away", reason="store_busy")] * 3
    file = project.write("data/large", DATA)
    for _ in range(3):
        with pytest.raises(PollinatorError):
            project.seal()
    overwrite(file)

    assert project.disk == project.sealed()


def test_where_files_are_cut_in_fixed_blocks_they_are_cut_anew(
    project: Project, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the version before was cut by content: the two must not be mixed."""
    monkeypatch.setitem(sys.modules, "pyfastcdc", None)
    insert(large)
    sealed = project.sealed()
    again = project.write("data/again", large.read_bytes())
    together = project.seal()

    assert sealed["data"][b"large"] == project.disk["data"][b"large"]
    assert again.stat().st_size > together.report.bytes_uploaded


def test_what_was_in_a_damaged_pack_is_stored_under_another_name(project: Project) -> None:
    """Its chunks would make the same pack again, which is removed once they are elsewhere."""
    project.write("data/large", DATA)
    project.seal()
    assert isinstance(project.store, MemoryStore)
    damaged = next(key for key in project.store.objects if key.startswith("p/"))
    project.engine.with_outbox(lambda box: box.abandon({damaged}))
    sealed = project.seal()
    project.store.delete(damaged)

    assert project.disk == read_back(project.store, sealed.ref)
