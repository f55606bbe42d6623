"""One looks for all who wait, and output that goes on and on does not make many small messages."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pollinator.executors import growth
from pollinator.executors.growth import Growth
from pollinator.executors.runlog import RunFolders
from pollinator.v1.run_pb2 import Run, RunEvent, RunState, StartRunRequest, StateChanged
from pollinator.wire.watching import BLOCK_BYTES


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "0").write_bytes(b"")
    return tmp_path


def printed(folder: Path, data: bytes, rank: int = 0) -> None:
    with (folder / str(rank)).open("ab") as file:
        file.write(data)


def test_a_folder_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    watched = Growth(tmp_path / "missing")
    watched.look()

    assert {} == watched.sizes


def test_what_is_no_rank_is_not_looked_at(folder: Path) -> None:
    (folder / "notes.txt").write_text("words")
    watched = Growth(folder)
    watched.look()

    assert {0: 0} == watched.sizes


def test_the_first_output_is_told_at_once(folder: Path) -> None:
    watched = Growth(folder)
    before = watched.version
    printed(folder, b"line\n")
    watched.look()

    assert before < watched.version
    assert {0: 5} == watched.sizes


def test_output_right_after_an_event_is_told_at_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "TELL_S", 60.0)
    watched = Growth(folder)
    watched.look()
    watched.tell()
    before = watched.version
    printed(folder, b"line\n")
    watched.look()

    assert before < watched.version


def test_output_that_goes_on_waits_a_moment_unless_it_is_a_whole_block(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growth, "TELL_S", 60.0)
    watched = Growth(folder)
    printed(folder, b"first\n")
    watched.look()
    watched.tell()
    told = watched.version
    printed(folder, b"second\n")
    watched.look()
    waits = watched.version
    printed(folder, bytes(BLOCK_BYTES), rank=1)
    watched.look()

    assert told == waits
    assert told < watched.version


async def test_an_event_wakes_everybody_at_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "LOOK_S", 60.0)
    monkeypatch.setattr(growth, "QUIET_LOOK_S", 60.0)
    watched = Growth(folder)
    seen = watched.version
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        for _ in range(5):
            group.create_task(watched.changed(seen, 60.0))
        group.create_task(told(watched))

    assert seen < watched.version


async def told(watched: Growth) -> None:
    watched.tell()


async def test_one_looks_for_all(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Growth(folder)
    seen, looks = watched.version, 0
    scandir = os.scandir

    def counted(path: Path) -> Iterator[os.DirEntry[str]]:
        nonlocal looks
        looks += 1
        if looks == 5:
            printed(folder, b"line\n")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", counted)
    async with asyncio.timeout(20):
        await asyncio.gather(*(watched.changed(seen, 60.0) for _ in range(64)))

    assert 5 == looks


async def test_when_the_one_who_looks_goes_another_takes_over(folder: Path) -> None:
    watched = Growth(folder)
    seen = watched.version
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        first = group.create_task(watched.changed(seen, 60.0))
        others = [group.create_task(watched.changed(seen, 60.0)) for _ in range(3)]
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(0)
        printed(folder, b"line\n")
        await asyncio.gather(*others)

    assert seen < watched.version


async def test_who_waits_in_vain_returns_after_the_timeout(folder: Path) -> None:
    watched = Growth(folder)
    async with asyncio.timeout(20):
        await asyncio.gather(*(watched.changed(watched.version, 0.02) for _ in range(3)))

    assert {0: 0} == watched.sizes


def test_what_was_printed_before_an_event_is_known_no_later_than_the_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growth, "LOOK_S", 60.0)
    folders = RunFolders(tmp_path)
    run = folders.create(Run(id="r0", request_id="q0"), StartRunRequest(request_id="q0"))
    (run.path / "output").mkdir()
    before = folders.version("r0")
    printed(run.path / "output", b"last words\n")
    run.append(RunEvent(state_changed=StateChanged(state=RunState.RUN_STATE_FAILED)))

    assert before < folders.version("r0")
    assert 11 == folders.output_size("r0", 0)
    assert folders.output_complete("r0")
