"""The client's side of WatchRun, over real sockets that break."""

from __future__ import annotations

import asyncio
import time

import grpc
import pytest

from pollinator.v1.run_pb2 import OutputOffset, WatchRunRequest, WatchRunResponse
from pollinator.v1.run_pb2_grpc import RunServiceStub
from pollinator.wire import streams as under_test
from pollinator.wire.channel import open_channel
from pollinator.wire.errors import InvalidInput, NotFound, PollinatorError, Unavailable
from pollinator.wire.streams import follow_run
from support.watched import RUN, CutService, GrowingRun, serving, taken

ALL = WatchRunRequest(run_id=RUN, output=True, follow=True)


def a_run() -> GrowingRun:
    run = GrowingRun()
    for at in range(10):
        run.note()
        run.print(at % 2, b"line %d\n" % at)
    run.end()
    return run


async def test_a_stream_that_is_never_cut_is_passed_on() -> None:
    run = a_run()
    async with serving(CutService(run, [])) as served:
        messages = [message async for message in follow_run(served.stub, ALL, patience_s=20)]

    assert (list(range(1, 11)), run.printed) == taken(messages)


async def test_a_cut_is_told_before_the_next_try_and_followed_by_the_run_as_it_is() -> None:
    told: list[PollinatorError] = []

    async def on_cut(error: PollinatorError) -> None:
        told.append(error)

    service = CutService(a_run(), [0, 5, 1])
    async with serving(service) as served:
        messages = [message async for message in follow_run(served.stub, ALL, patience_s=20, on_cut=on_cut)]

    assert [Unavailable] * 3 == [type(error) for error in told]
    assert 3 == sum(message.WhichOneof("kind") == "run" for message in messages)
    assert (list(range(1, 11)), service.run.printed) == taken(messages)
    assert [0, 0, 4, 4] == [request.after_seq for request in service.requests]


async def test_the_callers_request_is_left_alone() -> None:
    request = WatchRunRequest(run_id=RUN, output=True, after_seq=3, offsets=[OutputOffset(rank=1, offset=7)])
    before = request.SerializeToString()
    async with serving(CutService(a_run(), [4])) as served:
        messages = [message async for message in follow_run(served.stub, request, patience_s=20)]

    assert before == request.SerializeToString()
    assert 4 == next(message.event.seq for message in messages if message.HasField("event"))
    assert 7 == next(m.output.offset for m in messages if m.HasField("output") and m.output.rank == 1)


@pytest.mark.parametrize(
    ("code", "kind"),
    [(grpc.StatusCode.INVALID_ARGUMENT, InvalidInput), (grpc.StatusCode.NOT_FOUND, NotFound)],
)
async def test_an_error_that_trying_again_cannot_help_is_raised(
    code: grpc.StatusCode, kind: type[PollinatorError]
) -> None:
    service = CutService(a_run(), [2])
    service.code = code
    async with serving(service) as served:
        with pytest.raises(kind, match="cut"):
            [message async for message in follow_run(served.stub, ALL, patience_s=20)]

    assert 1 == len(service.requests)


async def test_patience_with_a_server_that_is_gone_ends() -> None:
    stub = RunServiceStub(channel := open_channel("unix:/nowhere/at/all.sock"))
    begin = time.monotonic()
    with pytest.raises(Unavailable):
        await anext(follow_run(stub, ALL, patience_s=0.2))
    await channel.close()

    assert 0.2 <= time.monotonic() - begin < 10


async def test_a_server_that_goes_silent_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    run = GrowingRun()
    run.note()
    service = CutService(run, [])
    async with serving(service) as served:
        messages = follow_run(served.stub, ALL, patience_s=20)
        kinds = [(await anext(messages)).WhichOneof("kind") for _ in range(2)]
        # From here on; a busy machine may take its time for what was said.
        monkeypatch.setattr(under_test, "SILENCE_S", 0.2)
        kinds += [(await anext(messages)).WhichOneof("kind") for _ in range(2)]
        await messages.aclose()

    assert ["run", "event", "run", "run"] == kinds
    assert [0, 1, 1] == [request.after_seq for request in service.requests][:3]


async def test_silence_is_an_error_when_patience_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(CutService(GrowingRun(), [])) as served:
        messages = follow_run(served.stub, ALL, patience_s=0.1)
        await anext(messages)
        monkeypatch.setattr(under_test, "SILENCE_S", 0.2)

        with pytest.raises(Unavailable) as caught:
            await anext(messages)
    assert "silent" == caught.value.reason


async def test_the_time_that_the_consumer_takes_is_no_silence() -> None:
    service = CutService(a_run(), [3])
    async with serving(service) as served:
        messages: list[WatchRunResponse] = []
        async for message in follow_run(served.stub, ALL, patience_s=1):
            messages.append(message)
            if len(messages) == 3:
                # As a pager does that nobody scrolls.
                await asyncio.sleep(1.5)

    assert (list(range(1, 11)), service.run.printed) == taken(messages)


async def test_a_server_that_is_stopped_in_order_is_followed_to_its_successor() -> None:
    run = GrowingRun()
    run.note()
    seen: list[WatchRunResponse] = []
    async with serving(CutService(run, [])) as served:

        async def on_cut(error: PollinatorError) -> None:
            run.note()
            run.end()
            await served.start()

        async for message in follow_run(served.stub, ALL, patience_s=20, on_cut=on_cut):
            seen.append(message)
            if len(seen) == 2:
                await served.stop(0.1)

    assert ([1, 2], {}) == taken(seen)


async def test_letting_go_ends_the_call_at_once() -> None:
    service = CutService(GrowingRun(), [])
    async with serving(service) as served:
        messages = follow_run(served.stub, ALL, patience_s=20)
        await anext(messages)

        await messages.aclose()

        async with asyncio.timeout(20):
            await service.let_go.wait()


async def test_after_a_cut_nothing_of_a_rank_is_left_out_that_was_silent_before() -> None:
    run = GrowingRun()
    run.print(0, b"old 1\nold 2\n")
    service = CutService(run, [3])
    request = WatchRunRequest(run_id=RUN, output=True, follow=True, tail_lines=1)
    seen: list[WatchRunResponse] = []
    async with serving(service) as served:

        async def on_cut(error: PollinatorError) -> None:
            run.print(1, b"new 1\nnew 2\n")
            run.end()

        async for message in follow_run(served.stub, request, patience_s=20, on_cut=on_cut):
            seen.append(message)
            if message.HasField("heartbeat"):
                run.note()

    blocks = [message.output for message in seen if message.HasField("output")]
    assert [(0, 6, b"old 2\n"), (1, 0, b"new 1\nnew 2\n")] == [(b.rank, b.offset, b.data) for b in blocks]


async def test_the_last_lines_are_asked_for_again_when_the_cut_came_before_them() -> None:
    run = GrowingRun()
    run.print(0, b"old 1\nold 2\n")
    service = CutService(run, [1])
    request = WatchRunRequest(run_id=RUN, output=True, follow=True, tail_lines=1)
    async with serving(service) as served:
        messages = follow_run(served.stub, request, patience_s=20)
        kinds = [(await anext(messages)).WhichOneof("kind") for _ in range(4)]
        await messages.aclose()

    assert ["run", "run", "output", "heartbeat"] == kinds
    assert [1, 1] == [each.tail_lines for each in service.requests]
