"""The port at which ranks meet is free, and nobody else is given it meanwhile."""

from __future__ import annotations

import socket

import pytest

from pollinator.executors import ports
from pollinator.wire.errors import Exhausted


def test_the_port_can_be_listened_at() -> None:
    port = ports.free_port(())
    with socket.create_server(("127.0.0.1", port)) as server:
        assert port == server.getsockname()[1]


def test_the_port_is_not_one_that_the_system_gives_to_anybody() -> None:
    low, high = ports.any_port_range()

    assert [] == [port for port in (ports.free_port(()) for _ in range(50)) if low <= port <= high]


def test_a_port_that_is_taken_is_not_given_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "any_port_range", lambda: (ports.FIRST + 3, ports.LAST))
    taken: list[int] = []
    for _ in range(3):
        taken.append(ports.free_port(taken))

    assert {ports.FIRST, ports.FIRST + 1, ports.FIRST + 2} == set(taken)
    with pytest.raises(Exhausted):
        ports.free_port(taken)


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "::1"])
def test_a_port_at_which_somebody_listens_is_not_free(address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        server = socket.create_server((address, 0), family=family)
    except OSError as error:
        pytest.skip(f"this machine has no {address}: {error}")
    with server:
        assert not ports.is_free(server.getsockname()[1])


def test_where_every_port_may_be_given_to_anybody_one_of_them_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ports, "any_port_range", lambda: (1, 65_535))

    assert ports.free_port(()) >= ports.FIRST
