"""Servers on a private socket, and what of a failure a client gets to see."""

from __future__ import annotations

import asyncio
import logging
import os
import stat
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from pollinator.wire.channel import open_channel
from pollinator.wire.errors import Exhausted, Internal, InvalidInput, NotFound, PollinatorError, Violation
from pollinator.wire.serving import ErrorInterceptor, add_health_and_reflection, bind_unix, make_server
from pollinator.wire.status import to_error

SERVICE = "pollinator.test.Faulty"
SECRET = "hunter2-in-an-exception"
KINDS = ["unary_unary", "unary_stream", "stream_unary", "stream_stream"]

_Context = grpc.aio.ServicerContext[Any, Any]


class Faulty:
    """Methods of all four kinds that fail as the request says, after one answer where there are several."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.left = asyncio.Event()

    async def unary_unary(self, request: bytes, context: _Context) -> bytes:
        return await self._behave(request, context)

    async def unary_stream(self, request: bytes, context: _Context) -> AsyncIterator[bytes]:
        yield b"first"
        yield await self._behave(request, context)

    async def stream_unary(self, requests: AsyncIterator[bytes], context: _Context) -> bytes:
        return await self._behave(b"".join([each async for each in requests]), context)

    async def stream_stream(self, requests: AsyncIterator[bytes], context: _Context) -> AsyncIterator[bytes]:
        async for request in requests:
            yield b"first"
            yield await self._behave(request, context)

    async def _behave(self, request: bytes, context: _Context) -> bytes:
        match request:
            case b"stray":
                raise KeyError(SECRET)
            case b"group":
                raise ExceptionGroup(SECRET, [ValueError(SECRET)])
            case b"ours":
                raise Exhausted("disk full", reason="disk_full", hint="free some")
            case b"unspeakable":
                raise NotFound(f"no {SECRET[:0]}\udcff", reason="odd_name")
            case b"many":
                wrong = [Violation(f"project.yaml:{line}:1", "is \N{SNOWMAN}" * 20) for line in range(5000)]
                raise InvalidInput("\N{SNOWMAN}" * 5000, reason="bad_spec", violations=wrong)
            case b"abort":
                await context.abort(grpc.StatusCode.ALREADY_EXISTS, "by the handler")
            case b"wait":
                self.entered.set()
                try:
                    await asyncio.Event().wait()
                finally:
                    self.left.set()
            case _:
                pass
        return b"answer to " + request


@dataclass
class Site:
    """A server, a client, and the log."""

    faulty: Faulty
    guard: ErrorInterceptor
    channel: grpc.aio.Channel
    socket: Path
    log: list[logging.LogRecord] = field(default_factory=list[logging.LogRecord])

    async def call(self, kind: str, request: bytes, method: str = "") -> list[bytes]:
        """All answers to one request."""
        begin: Any = getattr(self.channel, kind)(method or f"/{SERVICE}/{kind}")
        call = begin(request if kind.startswith("unary") else iter([request]))
        try:
            return [await call] if kind.endswith("unary") else [answer async for answer in call]
        finally:
            # A task that is cancelled between two reads does not take the call with it.
            call.cancel()

    async def failure(self, kind: str, request: bytes) -> PollinatorError:
        """The error that a client makes of the failure; nothing of it may hold the secret."""
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.call(kind, request)

        assert SECRET not in repr(caught.value)
        assert SECRET.encode() not in b"".join(
            value if isinstance(value, bytes) else value.encode()
            for _, value in caught.value.trailing_metadata() or ()
        )
        return to_error(caught.value)


class _Kept(logging.Handler):
    def __init__(self, records: list[logging.LogRecord]) -> None:
        super().__init__()
        self._records = records

    def emit(self, record: logging.LogRecord) -> None:
        self._records.append(record)


@asynccontextmanager
async def started() -> AsyncGenerator[Site]:
    with tempfile.TemporaryDirectory(prefix="pol-") as folder:
        socket = Path(folder, "private", "s.sock")
        log = logging.getLogger(__name__)
        guard = ErrorInterceptor(log)
        server = make_server(guard)
        faulty = Faulty()
        handlers = {
            name: getattr(grpc, f"{name}_rpc_method_handler")(getattr(faulty, name)) for name in KINDS
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        await add_health_and_reflection(server, [SERVICE])
        bind_unix(server, socket)
        await server.start()
        site = Site(faulty, guard, open_channel(f"unix:{socket}"), socket)
        log.addHandler(kept := _Kept(site.log))
        try:
            yield site
        finally:
            log.removeHandler(kept)
            await site.channel.close()
            await server.stop(0)


@pytest.mark.parametrize("kind", KINDS)
async def test_answers_pass_unchanged(kind: str) -> None:
    async with started() as site:
        answers = await site.call(kind, b"hello")

    assert b"answer to hello" == answers[-1]
    assert [] == site.log


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("failure", [b"stray", b"group"])
async def test_a_stray_exception_reaches_the_log_and_never_the_client(kind: str, failure: bytes) -> None:
    async with started() as site:
        error = await site.failure(kind, failure)

    assert isinstance(error, Internal)
    assert "internal" == error.reason
    reference = error.message.split()[-1]
    (record,) = site.log
    assert f"/{SERVICE}/{kind} failed, reference {reference}" == record.getMessage()
    assert record.exc_info is not None
    assert SECRET in str(record.exc_info[1])
    assert reference in error.hint


@pytest.mark.parametrize("kind", KINDS)
async def test_an_error_of_ours_reaches_the_client_whole(kind: str) -> None:
    async with started() as site:
        error = await site.failure(kind, b"ours")

    assert isinstance(error, Exhausted)
    assert ("disk_full", "disk full", "free some") == (error.reason, error.message, error.hint)
    assert [] == site.log


@pytest.mark.parametrize("kind", KINDS)
async def test_an_error_that_is_no_text_is_still_that_error(kind: str) -> None:
    async with started() as site:
        error = await site.failure(kind, b"unspeakable")

    assert ("odd_name", "no \\udcff") == (error.reason, error.message)


@pytest.mark.parametrize("kind", KINDS)
async def test_an_error_with_too_much_to_say_arrives_cut(kind: str) -> None:
    async with started() as site:
        error = await site.failure(kind, b"many")

    assert ("bad_spec", "project.yaml:0:1") == (error.reason, error.violations[0].where)
    assert error.message.startswith("\N{SNOWMAN}" * 200)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_status_that_a_handler_chose_is_left_alone(kind: str) -> None:
    async with started() as site:
        error = await site.failure(kind, b"abort")

    assert ("already_exists", "by the handler") == (error.reason, error.message)
    assert [] == site.log


@pytest.mark.parametrize("kind", KINDS)
async def test_a_client_that_goes_away_is_no_failure_and_is_not_counted_any_more(kind: str) -> None:
    async with started() as site:
        async with asyncio.TaskGroup() as group:
            call = group.create_task(site.call(kind, b"wait"))
            await site.faulty.entered.wait()
            active = site.guard.active_calls
            call.cancel()
        await site.faulty.left.wait()
        for _ in range(100):
            await asyncio.sleep(0)

    assert (1, 0) == (active, site.guard.active_calls)
    assert [] == site.log


async def test_failed_calls_are_not_counted_any_more() -> None:
    async with started() as site:
        for kind in KINDS:
            for failure in (b"stray", b"ours", b"abort"):
                await site.failure(kind, failure)

    assert 0 == site.guard.active_calls


async def test_a_method_that_does_not_exist_is_unimplemented() -> None:
    async with started() as site:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await site.call("unary_unary", b"", f"/{SERVICE}/other")

    assert grpc.StatusCode.UNIMPLEMENTED == caught.value.code()


async def test_health_and_reflection_are_served_behind_the_interceptor() -> None:
    check = health_pb2.HealthCheckRequest(service=SERVICE).SerializeToString()
    ask = reflection_pb2.ServerReflectionRequest(list_services="").SerializeToString()
    reflection = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
    async with started() as site:
        (health,) = await site.call("unary_unary", check, "/grpc.health.v1.Health/Check")
        (listed,) = await site.call("stream_stream", ask, reflection)

    assert health_pb2.HealthCheckResponse.SERVING == health_pb2.HealthCheckResponse.FromString(health).status
    assert SERVICE.encode() in listed


async def test_only_this_user_can_reach_the_socket() -> None:
    before = os.umask(0o022)
    try:
        async with started() as site:
            modes = [stat.S_IMODE(path.stat().st_mode) for path in (site.socket, site.socket.parent)]
        after = os.umask(0o022)
    finally:
        os.umask(before)

    assert [0o600, 0o700] == modes
    assert 0o022 == after


async def test_a_message_of_many_mebibytes_passes() -> None:
    async with started() as site:
        answers = await site.call("unary_unary", b"x" * (20 << 20))

    assert (20 << 20) + len(b"answer to ") == len(answers[0])


@pytest.mark.parametrize("address", ["", "localhost:1", "tcp://h:1", "/a/path", "http://h"])
def test_an_address_that_is_not_safe_is_refused(address: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        open_channel(address)

    assert "bad_address" == caught.value.reason
