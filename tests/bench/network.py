"""The way from a client to the S3 server, through the proxy that counts and delays."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

TESTS = Path(__file__).parent.parent


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
        )


class Network:
    """The proxy's process."""

    def __init__(self, server_port: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.proxy", str(server_port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=TESTS,
        )
        self.port = int(self._line())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def set_round_trip(self, milliseconds: float) -> None:
        """Added to what comes from now on, on connections that are made from now on."""
        self._ask(f"delay {milliseconds}")

    def traffic(self) -> Traffic:
        """All so far."""
        return self._ask("counts")

    def close(self) -> None:
        """End it, with all connections."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _ask(self, command: str) -> Traffic:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n".encode())
        self._process.stdin.flush()
        counts = json.loads(self._line())
        return Traffic(
            sum(counts["methods"].values()),
            counts["methods"].get("PUT", 0),
            counts["bodies"],
            counts["received"],
            counts["connections"],
            counts["puts_answered"],
            counts["put_answered_ns"],
        )

    def _line(self) -> bytes:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the proxy has ended")
        return line
