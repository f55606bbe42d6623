"""A machine at the other end of a line: a network namespace, whose line can be cut and made slow."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from itertools import count

from support.components import missing, program

_SOURCE = "apt-get install iproute2 util-linux"
_numbers = count(os.getpid() * 8)


class Line:
    """The line, as this end of it sees it.

    Attributes:
        near: our address on it.
        far: that of the other end.
    """

    def __init__(self) -> None:
        number = next(_numbers) % 16384
        block = f"10.231.{number // 64}.{number % 64 * 4}"
        prefix, _, last = block.rpartition(".")
        self.near, self.far = (f"{prefix}.{int(last) + each}" for each in (1, 2))
        self._space = f"pol-{os.getpid()}-{number}"
        self._ends = f"pn{number}", f"pf{number}"
        self._nsenter = program("nsenter", "network", _SOURCE)
        self._ip = program("ip", "network", _SOURCE)
        self._tc = program("tc", "network", _SOURCE)

    def lay(self) -> None:
        """Make both ends; the test is skipped where that is not allowed."""
        made = subprocess.run([self._ip, "netns", "add", self._space], capture_output=True, check=False)
        if made.returncode:
            missing(f"no network namespace can be made here: {made.stderr.decode().strip()}", "network")
        near, far = self._ends
        self._run(self._ip, "link", "add", near, "type", "veth", "peer", "name", far, "netns", self._space)
        self._run(self._ip, "address", "add", f"{self.near}/30", "dev", near)
        self._run(self._ip, "link", "set", near, "up")
        self._run(*self.there(self._ip, "address", "add", f"{self.far}/30", "dev", far))
        for each in (far, "lo"):
            self._run(*self.there(self._ip, "link", "set", each, "up"))

    def there(self, *command: str) -> list[str]:
        """What runs a command at the other end. It is no other machine as far as files and processes go."""
        # ip-netns would mount another /sys, and control groups would be out of reach.
        return [self._nsenter, f"--net=/run/netns/{self._space}", "--", *command]

    def cut(self) -> None:
        """Nothing gets through; nobody is told."""
        self._run(self._ip, "link", "set", self._ends[0], "down")

    def mend(self) -> None:
        """As before."""
        self._run(self._ip, "link", "set", self._ends[0], "up")

    def limit(self, rate: str) -> None:
        """No more than this in each direction, such as ``20mbit``."""
        shape: Sequence[str] = ("root", "tbf", "rate", rate, "burst", "32kbit", "latency", "400ms")
        self._run(self._tc, "qdisc", "add", "dev", self._ends[0], *shape)
        self._run(*self.there(self._tc, "qdisc", "add", "dev", self._ends[1], *shape))

    def remove(self) -> None:
        """Take both ends away."""
        subprocess.run([self._ip, "link", "delete", self._ends[0]], capture_output=True, check=False)
        subprocess.run([self._ip, "netns", "delete", self._space], capture_output=True, check=False)

    @staticmethod
    def _run(*command: str) -> None:
        subprocess.run(command, check=True, capture_output=True)


@contextmanager
def line() -> Generator[Line]:
    """A line that is there for the length of the block."""
    made = Line()
    made.lay()
    try:
        yield made
    finally:
        made.remove()
