"""What is sent with a PUT."""

from __future__ import annotations

import io
import os

from pollinator.chunks.s3_body import LARGEST_BLOCK, SMALLEST_BLOCK, Body, receive
from pollinator.chunks.traffic import Limit
from pollinator.executors.conformance.trees import random_bytes
from support.syncing import Clock

DATA = random_bytes(5 * 1024 * 1024 + 1)


def sent(body: Body, clock: Clock, block_ms: float) -> list[memoryview]:
    """All blocks, each of which takes so long."""
    body.seek(0)
    body.send()
    blocks: list[memoryview] = []
    while block := body.read(16384):
        blocks.append(block)
        clock.pass_ms(block_ms)
    return blocks


def test_what_is_signed_is_read_as_asked_for() -> None:
    body = Body(DATA)

    assert [DATA[:1000], DATA[1000:3000]] == [body.read(1000), body.read(2000)]
    assert DATA[3000:] == body.read()
    assert not body.read(1)


def test_a_body_can_be_measured_and_read_again() -> None:
    body = Body(DATA)
    body.read(1000)

    assert (1000, len(DATA)) == (body.tell(), len(body))
    assert [len(DATA), len(DATA) - 1, 0] == [
        body.seek(0, os.SEEK_END),
        body.seek(-1, os.SEEK_CUR),
        body.seek(0),
    ]
    assert DATA == body.read()


def test_what_is_sent_is_all_of_it_and_nothing_is_copied() -> None:
    clock = Clock()
    blocks = sent(Body(DATA, monotonic=clock.monotonic), clock, 1)

    assert DATA == b"".join(blocks)
    assert all(block.obj is DATA for block in blocks)


def test_blocks_grow_on_a_fast_line_and_stay_small_on_a_slow_one() -> None:
    clock = Clock()
    body = Body(DATA, monotonic=clock.monotonic)
    fast, slow = sent(body, clock, 1), sent(body, clock, 1000)

    assert [SMALLEST_BLOCK, 2 * SMALLEST_BLOCK] == [len(block) for block in fast[:2]]
    assert LARGEST_BLOCK == max(map(len, fast))
    assert {SMALLEST_BLOCK} == {len(block) for block in slow[:-1]}


def test_blocks_shrink_when_a_line_gets_slow() -> None:
    clock = Clock()
    body = Body(DATA, monotonic=clock.monotonic)
    body.send()
    sizes = [len(body.read(1)) for _ in range(5)]
    for _ in range(5):
        clock.pass_ms(1000)
        sizes.append(len(body.read(1)))

    assert LARGEST_BLOCK == sizes[4]
    assert SMALLEST_BLOCK == sizes[-1]


def test_what_is_signed_waits_for_no_limit_and_what_is_sent_does() -> None:
    clock = Clock()
    waits: list[float] = []

    def pause(seconds: float) -> None:
        waits.append(seconds)
        clock.pass_ms(seconds * 1000)

    limit = Limit(1024 * 1024, clock.monotonic)
    body = Body(DATA, limit=limit, pause=pause, monotonic=clock.monotonic)
    body.read()
    signed = list(waits)
    blocks = sent(body, clock, 0)

    assert [] == signed
    assert DATA == b"".join(blocks)
    assert max(map(len, blocks)) <= limit.block
    assert 4.8 <= sum(waits) <= 5.1
    assert max(waits) <= 0.2, "it goes evenly"


def test_what_is_received_waits_for_its_limit() -> None:
    clock = Clock()
    waits: list[float] = []

    def pause(seconds: float) -> None:
        waits.append(seconds)
        clock.pass_ms(seconds * 1000)

    answer = receive(io.BytesIO(DATA), Limit(1024 * 1024, clock.monotonic), pause)

    assert DATA == answer
    assert 4.8 <= sum(waits) <= 5.1
    assert DATA == receive(io.BytesIO(DATA), None, pause)


def test_what_goes_out_is_told_block_by_block_and_taken_back_when_it_goes_again() -> None:
    clock = Clock()
    told: list[int] = []
    body = Body(DATA, on_sent=told.append, monotonic=clock.monotonic)
    body.read()

    assert [] == told
    sent(body, clock, 1)

    assert len(DATA) == sum(told)
    assert len(told) > 3
    sent(body, clock, 1)

    assert len(DATA) == sum(told)
    body.take_back()

    assert 0 == sum(told)
