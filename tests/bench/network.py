"""The way from a client to the S3 server, through the proxy that counts and delays."""

from __future__ import annotations

from dataclasses import dataclass

from bench.process import Companion
from support.link import Line


@dataclass(frozen=True, slots=True)
class Traffic:
    """What went over the network."""

    requests: int = 0
    puts: int = 0
    sent: int = 0
    """Bytes in the bodies of requests."""
    received: int = 0
    """Bytes of answers."""
    connections: int = 0
    puts_answered: int = 0
    put_answered_ns: int = 0
    """When the last PUT was answered, by the clock of ``time.monotonic_ns``."""
    turns: int = 0
    """How often an answer followed something sent, of protocols that are not known."""

    def since(self, before: Traffic) -> Traffic:
        """What was added."""
        return Traffic(
            self.requests - before.requests,
            self.puts - before.puts,
            self.sent - before.sent,
            self.received - before.received,
            self.connections - before.connections,
            self.puts_answered - before.puts_answered,
            self.put_answered_ns,
            self.turns - before.turns,
        )


class Network(Companion):
    """The proxy's process.

    Args:
        server_port: where it leads to, on loopback.
        line: it is at the other end of this, and leads back to an address of this machine, where a server is
            that does not speak HTTP.
    """

    def __init__(self, server_port: int, line: Line | None = None) -> None:
        if line is None:
            super().__init__("proxy", str(server_port))
        else:
            super().__init__("proxy", str(server_port), line.near, line.far, via=line.there)
        self.port = int(self.answer())

    def set_round_trip(self, milliseconds: float) -> None:
        """Added to connections that are made from now on."""
        self.ask(f"delay {milliseconds}")

    def traffic(self) -> Traffic:
        """All so far."""
        counts = self.ask("counts")
        return Traffic(
            sum(counts["methods"].values()),
            counts["methods"].get("PUT", 0),
            counts["bodies"],
            counts["received"],
            counts["connections"],
            counts["puts_answered"],
            counts["put_answered_ns"],
            counts["turns"],
        )
