"""Many things at a time, that have all ended afterwards."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from pollinator.executors.colonies.together import AT_ONCE, alongside, in_thread, to_its_end, together
from pollinator.wire.errors import NotFound


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


async def test_all_is_done_a_few_at_a_time() -> None:
    under_way, most, done = 0, 0, 0

    async def work(number: int) -> None:
        nonlocal under_way, most, done
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1
        done += number

    await together(range(1, 101), work)

    assert AT_ONCE == most
    assert 5050 == done


async def test_the_first_failure_is_raised_as_it_is_and_ends_the_others() -> None:
    ended: list[int] = []

    async def work(number: int) -> None:
        if number == 3:
            raise NotFound("3 is not there", reason="gone")
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(number)

    with pytest.raises(NotFound, match="3 is not there"):
        await together(range(5), work)

    assert [0, 1, 2, 4] == sorted(ended)


async def test_a_result_comes_with_what_was_done_alongside() -> None:
    happened = asyncio.Event()

    async def first() -> int:
        await happened.wait()
        return 1

    async def other() -> None:
        happened.set()

    assert 1 == await alongside(first(), other())


async def test_a_thread_has_ended_when_who_waits_for_it_is_told_to_stop(threads: ThreadPoolExecutor) -> None:
    begun, go_on = threading.Event(), threading.Event()
    ended: list[bool] = []

    def work() -> None:
        begun.set()
        go_on.wait(10)
        ended.append(True)
        raise ValueError("nobody hears of this")

    async with asyncio.TaskGroup() as group:
        task = group.create_task(in_thread(threads, work))
        await asyncio.to_thread(begun.wait, 10)
        task.cancel()
        await asyncio.sleep(0)
        assert not task.done()
        go_on.set()

    assert [True] == ended
    assert task.cancelled()


async def test_whoever_is_told_to_stop_waits_for_the_end() -> None:
    end, done = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        await end.wait()
        done.set()

    async with asyncio.TaskGroup() as group:
        task = group.create_task(to_its_end(work(), 60.0))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0.01)
        end.set()

    assert done.is_set()
    assert task.cancelled()


async def test_but_not_for_ever_and_leaves_nothing_behind() -> None:
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async with asyncio.TaskGroup() as group:
        task = group.create_task(to_its_end(work(), 0.01))
        await asyncio.sleep(0)
        task.cancel()

    assert ended.is_set()
    assert task.cancelled()


async def test_a_failure_after_the_word_to_stop_is_nobodys() -> None:
    end = asyncio.Event()

    async def work() -> None:
        await end.wait()
        raise NotFound("it is not there", reason="gone")

    async with asyncio.TaskGroup() as group:
        task = group.create_task(to_its_end(work(), 60.0))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0.01)
        end.set()

    assert task.cancelled()
