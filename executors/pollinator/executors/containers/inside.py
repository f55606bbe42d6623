"""Where the commands of a run are: what the supervisor asks of it, whether that is the host or an image.

Standard library only, and little of it, because what runs beside a job imports it.
"""

from __future__ import annotations

import signal
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import IO, NamedTuple

from pollinator.executors.cgroups import WatchedGroup


class Entry(NamedTuple):
    """How a command is started."""

    argv: list[str]
    env: Mapping[str, str]
    cwd: str
    stdin: IO[bytes]
    """To be closed after the start."""


class Inside(ABC):
    """Where a run's commands are: on the host, or in an image. The run's plan says what is called."""

    own_limits = False
    """The run is held to its memory by somebody else."""
    guard: WatchedGroup | None = None
    """By whom, once it has begun, as far as that can be seen."""

    def begin(self) -> str:
        """Prepare; why it cannot be, or nothing."""
        return ""

    def refuses(self, program: str, env: Mapping[str, str]) -> str:
        """Why a program cannot be run, as far as that can be told before."""
        return ""

    @abstractmethod
    def enter(self, rank: int, argv: Sequence[str], env: Mapping[str, str]) -> Entry:
        """How a command is started with these variables."""

    def ended(self, rank: int, code: int) -> tuple[int, str]:
        """What a command ended with, negative for a signal; and why it was never started, if so."""
        return code, ""

    @abstractmethod
    def ask(self, number: signal.Signals, ranks: Mapping[int, int]) -> None:
        """Send a signal to all that runs in there, given the process that was started for each rank."""

    @abstractmethod
    def warn(self, number: signal.Signals, ranks: Mapping[int, int]) -> None:
        """Send a signal to the ranks' own processes alone."""

    def end(self) -> None:
        """Kill all that runs in there, as far as it is not below this process."""
        return

    def close(self) -> None:
        """Let go of what was set up."""
        return

    def cpu_s(self) -> float:
        """Seconds of processor time used in there, as far as they are not this process's children's."""
        return 0.0
