"""What an executor is: one backend behind the generic host.

The host accepts runs, lays their files out, follows their output and brings results home. An executor only
hands a prepared job to its backend, observes it, and cancels it. A new backend is one module and one entry
point line.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from pollinator.v1.executor_pb2 import Capabilities
from pollinator.v1.run_pb2 import Notice, Outcome, PendingReason, RunState, Usage
from pollinator.v1.spec_pb2 import RunSpec


@dataclass(frozen=True, slots=True)
class Job:
    """One run, laid out and ready. Everything is found again from the workspace after a restart."""

    run_id: str
    spec: RunSpec
    workspace: Path

    @property
    def work(self) -> Path:
        """The ranks' working folder: holds src, data and result."""
        return self.workspace / "work"

    @property
    def output(self) -> Path:
        """One append-only file for each rank."""
        return self.workspace / "output"

    @property
    def ranks(self) -> int:
        """How many ranks there are in all."""
        return self.spec.nodes * self.spec.processes_per_node


@dataclass(frozen=True, slots=True)
class Observation:
    """How a job looks now."""

    state: RunState.ValueType
    """QUEUED, STARTING or RUNNING; an end when nothing runs any more; LOST when the backend forgot it."""
    pending: PendingReason | None = None
    nodes: tuple[str, ...] = ()
    outcome: Outcome | None = None
    usage: Usage | None = None


class Executor(ABC):
    """One backend. Methods are called on the loop's thread, must not block, and may be repeated."""

    kind: str

    @abstractmethod
    def capabilities(self) -> Capabilities:
        """Limits and features."""

    @abstractmethod
    def preflight(self, spec: RunSpec) -> list[Notice]:
        """Check a spec without running it.

        Raises:
            InvalidInput: it cannot run here.
        """

    @abstractmethod
    def submit(self, job: Job, secrets: dict[str, str]) -> None:
        """Hand a job over. Handing it over again after a restart must not run it twice."""

    @abstractmethod
    def observe(self, job: Job) -> Observation:
        """How the job looks now."""

    @abstractmethod
    def cancel(self, job: Job) -> None:
        """Make the job end; how it ended is observed."""

    @abstractmethod
    def forget(self, job: Job) -> None:
        """The job has ended and its results are safe: release what it holds."""
