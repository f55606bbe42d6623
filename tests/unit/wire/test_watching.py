"""The server's side of WatchRun."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from pollinator.v1.run_pb2 import OutputOffset, Progress, RunState, WatchRunRequest, WatchRunResponse
from pollinator.wire import watching as under_test
from pollinator.wire.errors import NotFound, OutOfRange
from pollinator.wire.watching import BLOCK_BYTES, BLOCKS, HEARTBEAT_S, watch_run
from support.watched import RUN, GrowingRun


async def seen(run: GrowingRun, request: WatchRunRequest) -> list[WatchRunResponse]:
    request.run_id = RUN
    return [message async for message in watch_run(run, request)]


def short(messages: list[WatchRunResponse]) -> list[object]:
    """What each message says, in few words."""
    words: list[object] = []
    for message in messages:
        match message.WhichOneof("kind"):
            case "event":
                words.append(message.event.seq)
            case "output":
                words.append((message.output.rank, message.output.offset, message.output.data))
            case kind:
                words.append(kind)
    return words


async def next_of(messages: AsyncIterator[WatchRunResponse]) -> object:
    async with asyncio.timeout(20):
        return short([await anext(messages)])[0]


def ended(**output: bytes) -> GrowingRun:
    """A run that printed this, by rank as ``r0``, and has ended."""
    run = GrowingRun(RunState.RUN_STATE_SUCCEEDED)
    for name, data in output.items():
        run.print(int(name[1:]), data)
    return run


async def test_bytes_on_their_way_are_told_when_they_move() -> None:
    run = GrowingRun()
    messages = watch_run(run, WatchRunRequest(run_id=RUN, follow=True))

    assert "run" == await next_of(messages)
    for done in (1, 2):
        run.move(Progress(bytes_done=done, bytes_total=2))
        assert "progress" == await next_of(messages)
    run.move(run.moving)
    run.note()
    assert 1 == await next_of(messages)
    run.move(None)
    run.note()
    assert 2 == await next_of(messages)


async def test_an_unknown_run_is_not_found() -> None:
    with pytest.raises(NotFound):
        await anext(watch_run(GrowingRun(), WatchRunRequest(run_id="other")))


async def test_the_run_comes_first_then_events_then_output_by_rank() -> None:
    run = ended(r1=b"one", r0=b"zero")
    run.note()
    run.note()

    assert ["run", 1, 2, (0, 0, b"zero"), (1, 0, b"one")] == short(
        await seen(run, WatchRunRequest(output=True))
    )


async def test_what_the_watcher_has_is_not_sent_again() -> None:
    run = ended(r0=b"zero", r1=b"one", r2=b"two")
    run.note()
    run.note()
    offsets = [OutputOffset(rank=0, offset=1), OutputOffset(rank=1, offset=3)]
    request = WatchRunRequest(output=True, after_seq=1, offsets=offsets)

    assert ["run", 2, (0, 1, b"ero"), (2, 0, b"two")] == short(await seen(run, request))


@pytest.mark.parametrize("after", [2, 2**62, 2**64 - 1])
async def test_a_watcher_that_has_all_gets_the_run_alone(after: int) -> None:
    run = GrowingRun()
    run.note()

    assert ["run"] == short(await seen(run, WatchRunRequest(after_seq=after)))


async def test_output_is_sent_when_it_is_asked_for() -> None:
    assert ["run"] == short(await seen(ended(r0=b"zero"), WatchRunRequest()))


@pytest.mark.parametrize(("rank", "offset"), [(0, 5), (7, 1)])
async def test_an_offset_beyond_what_was_printed_is_refused(rank: int, offset: int) -> None:
    request = WatchRunRequest(output=True, offsets=[OutputOffset(rank=rank, offset=offset)])

    with pytest.raises(OutOfRange) as caught:
        await seen(ended(r0=b"zero"), request)
    assert "offset_beyond_end" == caught.value.reason


async def test_long_output_comes_in_blocks() -> None:
    data = bytes(range(256)) * (BLOCK_BYTES * BLOCKS * 2 // 256) + b"end"
    messages = (await seen(ended(r0=data), WatchRunRequest(output=True)))[1:]
    blocks = [message.output for message in messages]

    assert data == b"".join(block.data for block in blocks)
    assert [at * BLOCK_BYTES for at in range(BLOCKS * 2 + 1)] == [block.offset for block in blocks]


async def test_a_follower_gets_what_comes_and_ends_with_the_run() -> None:
    run = GrowingRun()
    messages = watch_run(run, WatchRunRequest(run_id=RUN, output=True, follow=True))

    assert "run" == await next_of(messages)
    run.print(0, b"a")
    assert (0, 0, b"a") == await next_of(messages)
    run.note()
    run.print(0, b"b")
    assert {1, (0, 1, b"b")} == {await next_of(messages) for _ in range(2)}
    run.end()
    assert [] == [message async for message in messages]


async def test_a_run_that_ended_is_followed_until_its_output_is_complete() -> None:
    run = GrowingRun(RunState.RUN_STATE_FAILED, complete=False)
    messages = watch_run(run, WatchRunRequest(run_id=RUN, output=True, follow=True))

    assert "run" == await next_of(messages)
    async with asyncio.TaskGroup() as group:
        late = group.create_task(next_of(messages))
        while not run.waits:  # noqa: ASYNC110 - its list of waits rings no bell
            await asyncio.sleep(0)
        run.print(0, b"late")
    assert (0, 0, b"late") == late.result()
    run.complete = True
    run.end()
    assert [] == [message async for message in messages]


async def test_what_grows_while_a_slow_watcher_is_served_is_not_missed() -> None:
    run = GrowingRun()
    run.print(0, b"a")
    messages = watch_run(run, WatchRunRequest(run_id=RUN, output=True, follow=True))

    assert ["run", (0, 0, b"a")] == [await next_of(messages) for _ in range(2)]
    # It is busy with the last message: nobody waits for a change while these happen.
    run.note()
    run.print(0, b"b")
    run.end()
    assert {1, (0, 1, b"b")} == set(short([message async for message in messages]))


async def test_a_rank_that_never_stops_printing_holds_nobody_up() -> None:
    class Endless(GrowingRun):
        def read_output(self, run_id: str, rank: int, offset: int, limit: int) -> bytes:
            return b"y" * limit if rank == 0 else super().read_output(run_id, rank, offset, limit)

    run = Endless()
    run.print(0, b"y")
    run.print(1, b"quiet")
    messages = watch_run(run, WatchRunRequest(run_id=RUN, output=True, follow=True))

    first = short([await anext(messages) for _ in range(BLOCKS + 2)])
    assert (1, 0, b"quiet") == first[-1]
    run.note()
    assert 1 == await next_of(messages)


async def test_a_silent_run_sends_a_sign_of_life() -> None:
    now = 0.0

    class Silent(GrowingRun):
        async def changed(self, run_id: str, seen: int, timeout_s: float) -> None:
            nonlocal now
            now += timeout_s

    run = Silent()
    messages = watch_run(run, WatchRunRequest(run_id=RUN, follow=True), clock=lambda: now)

    assert "run" == await next_of(messages)
    for beat in range(1, 4):
        assert ("heartbeat", beat * HEARTBEAT_S) == (await next_of(messages), now)


async def test_a_run_that_says_something_needs_no_sign_of_life() -> None:
    now = 0.0

    class Talkative(GrowingRun):
        async def changed(self, run_id: str, seen: int, timeout_s: float) -> None:
            nonlocal now
            now += timeout_s * 0.9
            self.note()

    messages = watch_run(Talkative(), WatchRunRequest(run_id=RUN, follow=True), clock=lambda: now)

    assert ["run", 1, 2, 3, 4] == [await next_of(messages) for _ in range(5)]


LINES = b"one\ntwo\nthree\n"


@pytest.mark.parametrize(
    ("printed", "lines", "expected"),
    [
        (LINES, 1, b"three\n"),
        (LINES, 2, b"two\nthree\n"),
        (LINES, 3, LINES),
        (LINES, 99, LINES),
        (LINES, 0, LINES),
        (LINES + b"begun", 1, b"begun"),
        (LINES + b"begun", 2, b"three\nbegun"),
        (b"\n\n\n", 2, b"\n\n"),
        (b"no end", 1, b"no end"),
    ],
)
@pytest.mark.parametrize("block", [1, 3, 4, 64])
async def test_the_last_lines_are_found_whatever_the_size_of_blocks(
    monkeypatch: pytest.MonkeyPatch, printed: bytes, lines: int, expected: bytes, block: int
) -> None:
    monkeypatch.setattr(under_test, "BLOCK_BYTES", block)
    messages = await seen(ended(r0=printed), WatchRunRequest(output=True, tail_lines=lines))

    assert expected == b"".join(message.output.data for message in messages[1:])
    assert len(printed) - len(expected) == messages[1].output.offset


async def test_an_offset_is_stronger_than_a_wish_for_the_last_lines() -> None:
    offsets = [OutputOffset(rank=0, offset=4)]
    request = WatchRunRequest(output=True, tail_lines=1, offsets=offsets)

    assert ["run", (0, 4, b"two\nthree\n"), (1, 4, b"b\n")] == short(
        await seen(ended(r0=LINES, r1=b"aaa\nb\n"), request)
    )


async def test_a_rank_that_begins_later_is_seen_from_its_first_line() -> None:
    run = GrowingRun()
    run.print(0, LINES)
    messages = watch_run(run, WatchRunRequest(run_id=RUN, output=True, follow=True, tail_lines=1))

    assert ["run", (0, 8, b"three\n")] == [await next_of(messages) for _ in range(2)]
    run.print(1, LINES)
    assert "heartbeat" == await next_of(messages)
    assert (1, 0, LINES) == await next_of(messages)


async def test_only_a_follower_of_the_last_lines_is_told_that_it_has_them() -> None:
    run = GrowingRun()
    run.print(0, LINES)
    messages = watch_run(run, WatchRunRequest(run_id=RUN, output=True, follow=True))

    assert ["run", (0, 0, LINES)] == [await next_of(messages) for _ in range(2)]
    run.note()
    assert 1 == await next_of(messages)
