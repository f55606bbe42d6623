"""The proxy of the benchmarks between a real client and a real server."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest

from bench.network import Network
from pollinator.chunks.s3 import S3Store
from support.s3_servers import S3Server

KEY = f"p/00/{0:064x}"

pytestmark = pytest.mark.integration


@pytest.fixture
def network(rclone_s3: S3Server) -> Iterator[Network]:
    port = urlsplit(rclone_s3.endpoint).port
    assert port
    with Network(port) as network:
        yield network


@pytest.fixture
def store(network: Network, rclone_s3: S3Server) -> Iterator[S3Store]:
    settings = rclone_s3.settings(endpoint=f"http://127.0.0.1:{network.port}")
    store = S3Store(settings.s3, "proxied")
    yield store
    store.close()


@pytest.mark.parametrize("round_trip_ms", [0, 5])
def test_bytes_arrive_as_they_were_sent_and_are_counted(
    network: Network, store: S3Store, round_trip_ms: float
) -> None:
    network.set_round_trip(round_trip_ms)
    body = bytes(range(256)) * 40_000
    before = network.traffic()
    store.put(KEY, body)
    there = store.get(KEY, 5, 1_000_000)
    traffic = network.traffic().since(before)

    assert body[5:1_000_005] == there
    assert (2, 1, len(body)) == (traffic.requests, traffic.puts, traffic.sent)
    assert 1_000_000 < traffic.received < 1_010_000
    assert 1 == traffic.puts_answered


def test_each_request_takes_the_round_trip_longer(network: Network, store: S3Store) -> None:
    network.set_round_trip(60)
    # The first one waits for the handshake as well.
    store.put(KEY, b"x")
    started = time.monotonic()
    for _ in range(3):
        store.get(KEY)
    took_s = time.monotonic() - started

    assert 0.18 <= took_s < 2.0


def test_a_delay_does_not_add_up_over_connections(network: Network, store: S3Store) -> None:
    network.set_round_trip(200)
    with ThreadPoolExecutor(16) as threads:
        started = time.monotonic()
        for each in [threads.submit(store.put, f"p/00/{number:064x}", b"x") for number in range(16)]:
            each.result()
        took_s = time.monotonic() - started

    # One after the other they would take 16 times two round trips.
    assert 0.4 <= took_s < 4.0


def test_a_delay_is_no_limit_of_bandwidth() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, Network(listener.getsockname()[1]) as network:
        network.set_round_trip(200)
        received: list[int] = []
        sink = threading.Thread(target=lambda: received.append(_read_all(listener)))
        sink.start()
        started = time.monotonic()
        with socket.create_connection(("127.0.0.1", network.port)) as client:
            client.sendall(b"GET / HTTP/1.1\r\nContent-Length: 67108864\r\n\r\n")
            client.sendall(bytes(64 * 1024 * 1024))
        sink.join()
        took_s = time.monotonic() - started

    # A window of 2 MiB, as a kernel has without this, would need 32 round trips.
    assert 64 * 1024 * 1024 < received[0]
    assert 0.3 <= took_s < 4.0


def test_who_breaks_off_breaks_off_on_both_sides(network: Network, store: S3Store) -> None:
    with socket.create_connection(("127.0.0.1", network.port)) as client:
        client.sendall(b"PUT /x HTTP/1.1\r\nContent-Length: 100\r\n\r\n")
    # The rest of the proxy goes on.
    store.put(KEY, b"x")

    assert b"x" == store.get(KEY)


def _read_all(listener: socket.socket) -> int:
    connection, _ = listener.accept()
    size = 0
    with connection:
        while data := connection.recv(1024 * 1024):
            size += len(data)
    return size
