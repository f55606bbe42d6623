"""Executors that are reached over TLS: who shows no good certificate gets nothing, and is told why."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import astuple
from pathlib import Path

import grpc
import pytest

from pollinator.daemon.reach.tls import OverTls, Secured
from pollinator.daemon.reach.transport import NotLoggedIn, Place, silent
from pollinator.v1.executor_pb2 import DescribeRequest, DescribeResponse, Executor
from pollinator.v1.executor_pb2_grpc import (
    ExecutorServiceServicer,
    ExecutorServiceStub,
    add_ExecutorServiceServicer_to_server,
)
from pollinator.wire.certificates import Identity, Pair, make_pair
from pollinator.wire.errors import NeedsLogin, PollinatorError, Unavailable
from pollinator.wire.places import runtime_dir
from pollinator.wire.serving import ErrorInterceptor, make_server
from pollinator.wire.tls import bind_secured


class About(ExecutorServiceServicer):
    async def Describe(self, request: DescribeRequest, context: object) -> DescribeResponse:  # noqa: N802
        return DescribeResponse(executor=Executor(kind="hall"))


@asynccontextmanager
async def served(side: Identity, *, careless: bool = False) -> AsyncGenerator[int]:
    """A service; gives its port. A careless one does not look at its own certificate."""
    server = make_server(ErrorInterceptor(logging.getLogger(__name__)))
    add_ExecutorServiceServicer_to_server(About(), server)
    if careless:
        read = [path.read_bytes() for path in (side.key, side.certificate, side.authority)]
        credentials = grpc.ssl_server_credentials([(read[0], read[1])], read[2], require_client_auth=True)
        port = server.add_secure_port("127.0.0.1:0", credentials)
    else:
        port = bind_secured(server, "127.0.0.1:0", side)
    await server.start()
    yield port
    await server.stop(0)


class Peer:
    """What asks over a transport."""

    def __init__(self, transport: OverTls) -> None:
        self.channel = transport.open()
        self._stub = ExecutorServiceStub(self.channel)

    def connected(self) -> bool:
        return False

    async def ask(self, timeout_s: float = 2.0) -> Executor | None:
        try:
            answer = await self._stub.Describe(DescribeRequest(), timeout=timeout_s)
        except grpc.aio.AioRpcError:
            return None
        return answer.executor


def place_of(side: Identity, address: str) -> Place:
    settings = {
        "tls.certificate": str(side.certificate),
        "tls.key": str(side.key),
        "tls.authority": str(side.authority),
    }
    return Place("hall", "", f"grpcs://{address}", settings, "1")


async def asked(port: int, side: Identity, host: str = "127.0.0.1") -> str:
    """What the executor is, or why that cannot be said."""
    address = f"{host}:{port}"
    transport = Secured(place_of(side, address), address)
    peer = Peer(transport)
    try:
        await transport.ensure(peer, silent)
        found = await peer.ask()
        return found.kind if found else ""
    except NotLoggedIn as error:
        return f"{error.reason}: {error.fix}"
    except PollinatorError as error:
        return error.reason
    finally:
        await peer.channel.close()
        await transport.close()


FIX = "pollinator executors certificate hall --replace"


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return make_pair(tmp_path / "pair", "hall", ["127.0.0.1"])


async def test_both_sides_of_a_pair_believe_each_other(pair: Pair) -> None:
    async with served(pair.server) as port:
        assert "hall" == await asked(port, pair.client)


async def test_who_shows_nothing_gets_nothing(pair: Pair) -> None:
    async with served(pair.server) as port:
        bare = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        bare.load_verify_locations(pair.client.authority)
        bare.set_alpn_protocols(["h2"])
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=bare)

        # A server of gRPC that takes a connection speaks first.
        assert b"" == await reader.read()
        writer.close()


async def test_who_speaks_no_tls_gets_nothing(pair: Pair) -> None:
    async with served(pair.server) as port, grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        with pytest.raises(grpc.aio.AioRpcError):
            await ExecutorServiceStub(channel).Describe(DescribeRequest(), timeout=5)


async def test_who_is_of_another_authority_gets_nothing(pair: Pair, tmp_path: Path) -> None:
    other = make_pair(tmp_path / "other", "hall", ["127.0.0.1"])
    stranger = Identity(other.client.certificate, other.client.key, pair.client.authority)

    async with served(pair.server) as port:
        assert f"certificate_refused: {FIX}" == await asked(port, stranger)


async def test_the_executors_own_half_is_not_the_daemons(pair: Pair) -> None:
    async with served(pair.server) as port:
        assert f"certificate_refused: {FIX}" == await asked(port, pair.server)


async def test_a_service_of_another_authority_is_not_believed(pair: Pair, tmp_path: Path) -> None:
    other = make_pair(tmp_path / "other", "hall", ["127.0.0.1"])

    async with served(other.server) as port:
        assert f"certificate_foreign: {FIX}" == await asked(port, pair.client)


async def test_a_service_of_another_name_is_not_believed(tmp_path: Path) -> None:
    pair = make_pair(tmp_path, "hall", ["hall.example.org"])

    async with served(pair.server) as port:
        assert f"certificate_host: {FIX} --host 127.0.0.1" == await asked(port, pair.client)


async def test_what_has_expired_is_not_believed(pair: Pair, tmp_path: Path) -> None:
    old = make_pair(tmp_path / "old", "hall", ["127.0.0.1"], days=0)
    good = Identity(pair.client.certificate, pair.client.key, old.client.authority)

    async with served(pair.server) as port:
        assert f"certificate_expired: {FIX}" == await asked(port, old.client)
    async with served(old.server, careless=True) as port:
        assert f"certificate_expired: {FIX}" == await asked(port, good)
    with pytest.raises(NeedsLogin, match="was good until"):
        async with served(old.server):
            pass


class GivesUp:
    """Connects, and ends the connection before anything came."""

    def __init__(self, socket: Path, reached: asyncio.Event) -> None:
        self._socket = socket
        self._reached = reached

    def connected(self) -> bool:
        return False

    async def ask(self, timeout_s: float = 2.0) -> Executor | None:
        reader, writer = await asyncio.open_unix_connection(self._socket)
        await self._reached.wait()
        writer.write_eof()
        await reader.read()
        writer.close()
        return None


async def test_a_service_that_says_nothing_has_not_refused_who_gave_up(pair: Pair) -> None:
    reached = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.set()
        await reader.read()
        writer.close()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.server.certificate, pair.server.key)
    context.set_alpn_protocols(["h2"])
    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0, ssl=context)
    address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    place = place_of(pair.client, address)
    transport = Secured(place, address)

    with pytest.raises(Unavailable) as caught:
        await transport.ensure(GivesUp(runtime_dir() / f"tls-{place.mark}.sock", reached), silent)

    assert "executor_down" == caught.value.reason
    await transport.close()
    server.close()


async def test_nobody_there_is_nobody_there(pair: Pair, unused_tcp_port: int) -> None:
    assert "executor_down" == await asked(unused_tcp_port, pair.client)


async def test_new_files_are_used_by_the_next_connection(pair: Pair, tmp_path: Path) -> None:
    other = make_pair(tmp_path / "other", "hall", ["127.0.0.1"])
    async with served(other.server) as port:
        assert f"certificate_foreign: {FIX}" == await asked(port, pair.client)
        for old, new in zip(astuple(pair.client), astuple(other.client), strict=True):
            new.replace(old)

        assert "hall" == await asked(port, pair.client)
