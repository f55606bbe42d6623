"""A port at which the ranks of a run meet: free now, and likely to stay so until the first rank takes it."""

from __future__ import annotations

import errno
import random
import socket
from collections.abc import Collection
from pathlib import Path

from pollinator.wire.errors import Exhausted

FIRST, LAST = 10_240, 65_535
"""Lower ones are for well-known services."""

TRIES = 1000

USUAL_RANGE = (32_768, 65_535)
"""Where most systems look for a port when a program asks for any."""


def free_port(taken: Collection[int]) -> int:
    """A port that nobody listens at and that is not in ``taken``.

    Not one that the system gives to whoever asks for any: minutes may pass until the first rank takes it, and
    until then every connection that leaves this machine could.

    Raises:
        Exhausted: none is found.
    """
    low, high = any_port_range()
    ports: list[int] = [*range(FIRST, min(low, LAST + 1)), *range(max(high + 1, FIRST), LAST + 1)]
    ports = ports or list(range(FIRST, LAST + 1))
    for _ in range(TRIES):
        port = random.choice(ports)  # noqa: S311 - no secret
        if port not in taken and is_free(port):
            return port
    raise Exhausted("no port is free on this machine", reason="no_port")


def any_port_range() -> tuple[int, int]:
    """The first and last port that the system gives to whoever asks for any."""
    try:
        low, high = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()
        return int(low), int(high)
    except (OSError, ValueError):
        return USUAL_RANGE


def is_free(port: int) -> bool:
    """Nobody listens at this port, at any address."""
    for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):  # noqa: S104 - nobody listens
        try:
            with socket.socket(family) as probe:
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind((address, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            # This machine does not speak IPv6.
    return True
