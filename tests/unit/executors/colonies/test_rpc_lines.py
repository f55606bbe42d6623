"""Lines that are not plain: TLS, whom to trust, proxies, and a hint where settings and server differ."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest

from pollinator.executors.colonies import rpc
from pollinator.executors.colonies.rpc import Rpc
from pollinator.v1.colony_pb2 import Colony
from pollinator.wire.certificates import Pair, make_pair
from pollinator.wire.errors import Denied, InvalidInput, Unavailable
from support.scripted_colonies import CUT, KEY, ask, closed_port, failure, http, said, serving


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return make_pair(tmp_path_factory.mktemp("pair"), "colony", ["127.0.0.1"])


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses are short."""
    monkeypatch.setattr(rpc, "FIRST_PAUSE_S", 0.001)


def tls(pair: Pair) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pair.server.certificate, pair.server.key)
    return context


async def test_a_proxy_is_not_asked_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{closed_port()}")
    monkeypatch.delenv("no_proxy", raising=False)
    async with serving(said({})) as server:
        assert {} == await ask(server.colony())


async def test_a_proxy_is_asked_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(said({"by": "proxy"})) as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        answer = await ask(Colony(host="colony.invalid", port=80, private_key=KEY))

    assert {"by": "proxy"} == answer


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_that_does_not_answer_is_told_from_the_server(
    monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    monkeypatch.setenv(f"{scheme}_proxy", f"http://127.0.0.1:{closed_port()}")
    error = await failure(Colony(host="h.invalid", port=80, private_key=KEY, tls=scheme == "https"))

    assert (Unavailable, "colony_down") == (type(error), error.reason)
    assert "its proxy says Connection refused" in error.message
    assert "no_proxy" in error.hint


async def test_a_proxy_that_refuses_has_done_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(http(b"", 407)) as proxy:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.port}")
        error = await failure(Colony(host="h.invalid", port=80, private_key=KEY, tls=True))

    assert (Unavailable, "colony_down") == (type(error), error.reason)
    assert "407" in error.message


@pytest.mark.parametrize("proxy", ["127.0.0.1:1", "http://ada:secret@h:x"])
async def test_a_proxy_that_cannot_be_meant_is_not_repeated(
    monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("http_proxy", proxy)
    error = await failure(Colony(host="h.invalid", port=80, private_key=KEY))

    assert (InvalidInput, "bad_colony") == (type(error), error.reason)
    assert "http_proxy" in error.hint
    assert proxy not in error.message


async def test_who_is_trusted_is_spoken_to_over_tls(pair: Pair) -> None:
    async with serving(said({"a": 1}), tls=tls(pair)) as server:
        colony = server.colony(tls=True, ca_bundle=str(pair.client.authority))

        assert {"a": 1} == await ask(colony)
        assert {"a": 1} == await ask(server.colony(tls=True, skip_verify=True))


@pytest.mark.usefixtures("quick")
async def test_who_is_not_trusted_is_told_nothing_and_not_asked_again(pair: Pair) -> None:
    async with serving(said({}), tls=tls(pair)) as server:
        error = await failure(server.colony(tls=True), repeat=True)

    assert (Denied, "colony_tls") == (type(error), error.reason)
    assert "certificate" in error.message
    assert "COLONIES_CA_BUNDLE" in error.hint
    assert [] == server.asked
    assert not error.retryable


async def test_a_certificate_of_another_host_is_not_trusted(tmp_path: Path) -> None:
    other = make_pair(tmp_path, "colony", ["colony.example.org"])
    async with serving(said({}), tls=tls(other)) as server:
        error = await failure(server.colony(tls=True, ca_bundle=str(other.client.authority)))

    assert "colony_tls" == error.reason
    assert "127.0.0.1" in error.message


async def test_tls_spoken_to_a_server_without_gives_a_hint() -> None:
    server = await asyncio.start_server(refuse_tls, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        error = await failure(Colony(host="127.0.0.1", port=port, private_key=KEY, tls=True))

    assert "colony_down" == error.reason
    assert "COLONIES_TLS=false" in error.hint


async def refuse_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """As a server does that expects HTTP."""
    await reader.read(10)
    writer.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n400 Bad Request")
    await writer.drain()
    writer.close()


@pytest.mark.parametrize(
    "answer",
    [CUT, http(b"Client sent an HTTP request to an HTTPS server.\n", 400), b"\x15\x03\x01\x00\x02\x02\x46"],
    ids=["cut", "as Go does", "an alert"],
)
async def test_a_server_that_wants_tls_gives_a_hint(answer: bytes) -> None:
    async with serving(answer, CUT) as server:
        error = await failure(server.colony())

    assert "COLONIES_TLS=true" in error.hint


async def test_no_tls_spoken_to_a_server_with_gives_a_hint(pair: Pair) -> None:
    async with serving(said({}), tls=tls(pair)) as server:
        error = await failure(server.colony())

    assert "COLONIES_TLS=true" in error.hint


@pytest.mark.parametrize("body", [b"", b"-----BEGIN CERTIFICATE-----\n"])
def test_a_bundle_without_certificates_is_named(tmp_path: Path, body: bytes) -> None:
    (tmp_path / "ca.pem").write_bytes(body)
    with pytest.raises(InvalidInput) as caught:
        Rpc(Colony(host="h", port=1, private_key=KEY, tls=True, ca_bundle=str(tmp_path / "ca.pem")))

    assert "bad_colony" == caught.value.reason
    assert "ca.pem" in caught.value.message
