"""An executor whose state several machines see says that it is alive, and lets go when it is asked to."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pollinator.executors import alive
from pollinator.executors.alive import stay_in_touch


@asynccontextmanager
async def beating(state: Path, stop: asyncio.Event) -> AsyncGenerator[None]:
    """An executor that says that it is alive."""
    threads = ThreadPoolExecutor(1)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(stay_in_touch(state, threads, stop))
        while not (state / "alive").exists():  # noqa: ASYNC110 - nothing tells when a file comes
            await asyncio.sleep(0.001)
        yield
        task.cancel()
    threads.shutdown()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alive, "BEAT_S", 0.01)


async def test_it_names_its_machine_again_and_again_and_no_more_when_it_has_ended(tmp_path: Path) -> None:
    async with beating(tmp_path, asyncio.Event()):
        first = (tmp_path / "alive").stat().st_mtime_ns
        while (tmp_path / "alive").stat().st_mtime_ns == first:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.001)
        said = (tmp_path / "alive").read_text()

    assert socket.gethostname() == said
    assert not (tmp_path / "alive").exists()


async def test_it_ends_when_it_is_asked_to(tmp_path: Path) -> None:
    stop = asyncio.Event()
    async with beating(tmp_path, stop):
        (tmp_path / "end").touch()

        await asyncio.wait_for(stop.wait(), 10)


async def test_a_machine_that_is_about_to_write_its_name_is_left_alone(tmp_path: Path) -> None:
    stop = asyncio.Event()
    async with beating(tmp_path, stop):
        with (tmp_path / "alive").open("w") as file:
            await asyncio.sleep(20 * alive.BEAT_S)
            assert "" == (tmp_path / "alive").read_text()
            file.write("login2")

        await asyncio.wait_for(stop.wait(), 10)

    assert "login2" == (tmp_path / "alive").read_text()


async def test_it_says_so_again_when_its_name_is_gone(tmp_path: Path) -> None:
    async with beating(tmp_path, asyncio.Event()):
        (tmp_path / "alive").unlink()
        while not (tmp_path / "alive").exists():  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.001)
        await asyncio.sleep(2 * alive.BEAT_S)
        assert socket.gethostname() == (tmp_path / "alive").read_text()

    assert not (tmp_path / "alive").exists()


async def test_it_ends_when_another_machine_has_its_place_and_leaves_that_alone(tmp_path: Path) -> None:
    stop = asyncio.Event()
    async with beating(tmp_path, stop):
        (tmp_path / "alive").write_text("login2")

        await asyncio.wait_for(stop.wait(), 10)

    assert "login2" == (tmp_path / "alive").read_text()
