"""Output and events of runs at every executor: every byte once and in order, from any place on."""

from __future__ import annotations

import asyncio
import hashlib
import random
from contextlib import aclosing

import pytest

from pollinator.executors.conformance.client import ExecutorUnderTest, Followed
from pollinator.model.run import fold
from pollinator.v1.run_pb2 import OutputOffset, RunState, WatchRunResponse
from pollinator.wire.errors import PollinatorError

NUMBERED = """\
import os, time
for number in range(60):
    os.write(1 + number % 2, b"rank %s line %d\\n" % (os.environb[b"RANK"], number))
    if number % 7 == 0:
        time.sleep(0.005)
"""
MIB = 1 << 20


@pytest.fixture(scope="module")
async def numbered_run(executor: ExecutorUnderTest) -> Followed:
    """A run of four ranks that has ended, completely followed."""
    return await executor.run(NUMBERED, nodes=2, processes_per_node=2)


def lines(rank: int) -> bytes:
    return b"".join(b"rank %d line %d\n" % (rank, number) for number in range(60))


async def test_stdout_and_stderr_of_each_rank_are_in_the_order_written(numbered_run: Followed) -> None:
    assert {rank: lines(rank) for rank in range(4)} == numbered_run.output


async def test_output_is_what_was_written_whether_text_or_not(executor: ExecutorUnderTest) -> None:
    ended = await executor.run("import os; os.write(1, bytes(range(256)) * 3 + b'\\n\\r\\x00\\xc3')")

    assert {0: bytes(range(256)) * 3 + b"\n\r\x00\xc3"} == ended.output


async def test_output_larger_than_a_pipe_comes_whole_though_nobody_reads_it(
    executor: ExecutorUnderTest,
) -> None:
    run = await executor.begin("import os; os.write(1, b'x' * (1 << 20)); os.write(2, b'y' * (1 << 20))")
    await executor.reached(run.id, RunState.RUN_STATE_SUCCEEDED)
    followed = await executor.follow(run.id)

    assert {0: b"x" * MIB + b"y" * MIB} == followed.output


@pytest.mark.timeout(180)  # A broker stores each of them before it is sent on.
async def test_twenty_megabytes_come_whole(executor: ExecutorUnderTest) -> None:
    program = (
        "import hashlib, os\n"
        "for at in range(2000):\n"
        "    os.write(1 + at % 2, hashlib.shake_128(b'%d' % at).digest(10_000))\n"
    )
    ended = await executor.run(program)
    expected = hashlib.sha256()
    for at in range(2000):
        expected.update(hashlib.shake_128(b"%d" % at).digest(10_000))

    assert 20_000_000 == len(ended.output[0])
    assert expected.digest() == hashlib.sha256(ended.output[0]).digest()


async def test_a_line_is_seen_while_the_program_runs(executor: ExecutorUnderTest) -> None:
    run = await executor.begin("import time; print('early'); time.sleep(60)")
    seen = await executor.printed(run.id, b"early\n")
    state = (await executor.get(run.id)).state
    await executor.cancel(run.id)
    await executor.follow(run.id)

    assert b"early\n" == seen
    assert RunState.RUN_STATE_RUNNING == state


# Going on from anywhere


async def test_the_first_message_is_the_run_as_it_is_now(
    executor: ExecutorUnderTest, numbered_run: Followed
) -> None:
    async with aclosing(executor.messages(numbered_run.run.id)) as messages:
        first = await anext(messages)

    assert await executor.get(numbered_run.run.id) == first.run


async def test_the_run_is_what_its_events_say(numbered_run: Followed) -> None:
    assert numbered_run.run == fold(numbered_run.events)


async def test_events_go_on_after_any_sequence_number(
    executor: ExecutorUnderTest, numbered_run: Followed
) -> None:
    for seq in range(len(numbered_run.events) + 1):
        again = await executor.follow(numbered_run.run.id, after_seq=seq)

        assert numbered_run.events[seq:] == again.events
        assert numbered_run.output == again.output


@pytest.mark.parametrize("seed", range(8))
async def test_output_goes_on_at_any_offset_of_any_rank(
    executor: ExecutorUnderTest, numbered_run: Followed, seed: int
) -> None:
    choice = random.Random(seed)
    ranks = choice.sample(range(4), choice.randint(1, 4))
    offsets = {
        rank: choice.choice([0, 1, choice.randint(0, len(lines(rank))), len(lines(rank))]) for rank in ranks
    }
    again = await executor.follow(numbered_run.run.id, offsets=offsets, follow=choice.random() < 0.5)
    expected = {rank: lines(rank)[offsets.get(rank, 0) :] for rank in range(4)}

    assert {rank: text for rank, text in expected.items() if text} == again.output


@pytest.mark.parametrize("seed", range(4))
async def test_a_client_that_is_cut_again_and_again_misses_nothing_and_sees_nothing_twice(
    executor: ExecutorUnderTest, seed: int
) -> None:
    choice = random.Random(seed)
    run = await executor.begin(NUMBERED, processes_per_node=2)
    seen = Followed([], {}, run)
    complete = False
    while not complete:
        complete = await part(executor, seen, choice.randint(1, 6))

    assert {rank: lines(rank) for rank in range(2)} == seen.output
    assert list(range(1, len(seen.events) + 1)) == [event.seq for event in seen.events]
    assert await executor.get(run.id) == fold(seen.events)


async def part(executor: ExecutorUnderTest, seen: Followed, count: int) -> bool:
    """Go on where an earlier part ended, for so many messages; True when the stream ended by itself."""
    offsets = [OutputOffset(rank=rank, offset=len(text)) for rank, text in seen.output.items()]
    stream = executor.messages(seen.run.id, after_seq=len(seen.events), offsets=offsets)
    async with aclosing(stream) as messages:
        async for message in messages:
            take(seen, message)
            count -= 1
            if count < 0:
                return False
    return True


def take(seen: Followed, message: WatchRunResponse) -> None:
    match message.WhichOneof("kind"):
        case "event":
            seen.events.append(message.event)
        case "output":
            block = message.output
            assert len(seen.output.get(block.rank, b"")) == block.offset
            seen.output[block.rank] = seen.output.get(block.rank, b"") + block.data
        case _:
            pass


async def test_an_offset_beyond_what_was_printed_is_refused(
    executor: ExecutorUnderTest, numbered_run: Followed
) -> None:
    with pytest.raises(PollinatorError) as caught:
        await executor.follow(numbered_run.run.id, offsets={1: len(lines(1)) + 1})

    assert ("OUT_OF_RANGE", "offset_beyond_end") == (caught.value.code, caught.value.reason)


async def test_the_last_lines_of_each_rank_can_be_asked_for(
    executor: ExecutorUnderTest, numbered_run: Followed
) -> None:
    tail = [message.output async for message in executor.messages(numbered_run.run.id, tail_lines=2)]
    texts = {block.rank: block.data for block in tail if block.data}

    assert {rank: b"rank %d line 58\nrank %d line 59\n" % (rank, rank) for rank in range(4)} == texts


async def test_without_output_only_events_are_sent(
    executor: ExecutorUnderTest, numbered_run: Followed
) -> None:
    assert {} == (await executor.follow(numbered_run.run.id, output=False)).output


async def test_who_does_not_follow_gets_what_is_known_and_no_more(executor: ExecutorUnderTest) -> None:
    run = await executor.begin("import time; print('early'); time.sleep(60)")
    await executor.printed(run.id, b"early\n")
    # What is printed may be seen before it is known where the run is.
    await executor.reached(run.id, RunState.RUN_STATE_RUNNING)
    known = await executor.follow(run.id, follow=False)
    await executor.cancel(run.id)
    await executor.follow(run.id)

    assert {0: b"early\n"} == known.output
    assert RunState.RUN_STATE_RUNNING == known.run.state


async def test_many_clients_that_follow_one_run_all_get_everything(executor: ExecutorUnderTest) -> None:
    run = await executor.begin(NUMBERED, processes_per_node=4)
    followed = await asyncio.gather(*(executor.follow(run.id) for _ in range(64)))

    assert [{rank: lines(rank) for rank in range(4)}] * 64 == [each.output for each in followed]
    assert [followed[0].events] * 64 == [each.events for each in followed]
