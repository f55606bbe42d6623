"""What an executor is: one backend behind the generic host.

The host accepts runs, lays their files out, follows their output and brings results home. An executor only
hands a prepared job to its backend, observes it, and cancels it. A new backend is one module and one entry
point line.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol, Self

from pollinator.chunks.store import Store
from pollinator.v1.colony_pb2 import Colony
from pollinator.v1.executor_pb2 import Capabilities, Image
from pollinator.v1.run_pb2 import Notice, Outcome, PendingReason, RunState, SnapshotSource, Usage
from pollinator.v1.spec_pb2 import RunSpec
from pollinator.v1.tree_pb2 import SnapshotRef
from pollinator.wire.errors import InvalidInput, Violation


@dataclass(frozen=True, slots=True)
class Job:
    """One run, laid out and ready. Everything is found again from the workspace after a restart."""

    run_id: str
    spec: RunSpec
    workspace: Path
    source: SnapshotSource = field(default_factory=SnapshotSource, repr=False)
    """What was asked for, with the keys of store and colony until the run has ended."""

    @property
    def known_as(self) -> str:
        """Its id for the ranks: that of the run which a colony has brought here, if one has."""
        return self.source.origin.run_id or self.run_id

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
    notices: tuple[Notice, ...] = ()
    """What the user should know by now."""
    attempt: int = 0
    """Which one it is, where the backend counts them; else each that waits again is another."""


Tell = Callable[[int], None]
"""Told how many bytes are done; what it raises ends the work."""


class Images(Protocol):
    """Container images that are kept ready for runs. Blocking; several threads may use it at once."""

    def all(self) -> list[Image]:
        """What is there, newest use first."""
        ...

    def pull(self, reference: str, engine: str, *, rebuild: bool, tell: Tell) -> Image:
        """Make an image ready.

        Raises:
            PollinatorError: it cannot be had.
        """
        ...

    def prune(self, unused_s: int, *, dry_run: bool) -> list[Image]:
        """Remove what no run used for so long; returns what that is."""
        ...


@dataclass(frozen=True, slots=True)
class Preview:
    """What would become of a spec."""

    script: str = ""
    """What would be handed to the backend."""
    eta: datetime | None = None
    """When it might start, as the backend estimates."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """What became of results on their way from a backend."""

    stored: SnapshotRef | None = None
    """Where they are in the job's store, if they were there already and nothing was brought."""
    notices: Sequence[Notice] = ()
    """What the user should know."""


class Executor(ABC):
    """One backend. Methods are called on the loop's thread, must not block, and may be repeated."""

    kind: str
    images: Images | None = None
    """None where there is no container engine."""
    stages: bool = False
    """Runs have no folder here: ``stage`` takes their files to the backend, and ``fetch`` brings results."""
    needs_locks = True
    """It locks files in its state, beside the one that says whose the state is."""

    @classmethod
    @abstractmethod
    def create(cls, state: Path, settings: Mapping[str, str]) -> Self:
        """One that keeps what it needs below ``state``.

        Args:
            state: a folder that only this user can read, and that outlives the process.
            settings: those it was added with, as ``{"slurm.account": "project_1"}``.

        Raises:
            InvalidInput: a setting is unknown or cannot be meant.
        """

    async def serve(self) -> None:
        """What the backend needs done all the time; cancelled when the process ends."""
        return

    @abstractmethod
    def capabilities(self) -> Capabilities:
        """Limits and features."""

    @abstractmethod
    def preflight(self, spec: RunSpec) -> list[Notice]:
        """Check a spec without running it.

        Raises:
            InvalidInput: it cannot run here.
        """

    async def survey(self, spec: RunSpec, colony: Colony, secrets: Collection[str]) -> list[Notice]:
        """Ask those who would run a spec that has passed preflight, where there are such.

        Args:
            spec: the spec.
            colony: the one it is for; empty where none was named.
            secrets: names of those that it comes with.

        Raises:
            InvalidInput: none of them can run it.
        """
        return []

    async def preview(self, spec: RunSpec, colony: Colony, *, script: bool, estimate: bool) -> Preview:
        """What would become of a spec that has passed preflight and survey; only what is asked for."""
        return Preview()

    async def explain(
        self, job: Job, pending: PendingReason | None, *, estimate: bool
    ) -> PendingReason | None:
        """Why a job waits, given what was recorded last; None when it does not."""
        return pending

    def prepare_image(self, job: Job, tell: Tell) -> list[Notice]:
        """Make the job's image ready. Called on a worker thread, before ``submit``, for jobs that name one.

        Returns:
            What the user should know.

        Raises:
            PollinatorError: it cannot be had; the run fails for that reason.
        """
        return []

    async def stage(self, job: Job, store: Store, tell: Tell) -> list[Notice]:
        """Have the job's files where the backend finds them. Harmless when repeated.

        Args:
            job: the job.
            store: holds its snapshot.
            tell: told the bytes done so far.

        Returns:
            What the user should know.

        Raises:
            PollinatorError: they cannot be taken there; the run fails unless that is said to pass.
        """
        raise NotImplementedError

    async def fetch(self, job: Job, tell: Tell) -> Fetched:
        """Bring the results of an ended job into its ``work/result``. Harmless when repeated.

        Raises:
            PollinatorError: they cannot be had.
        """
        raise NotImplementedError

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


def check_settings(settings: Mapping[str, str], known: Collection[str]) -> None:
    """Refuse settings that an executor does not have.

    Raises:
        InvalidInput: there are some; each is named.
    """
    violations = [
        Violation(name, f"is no setting of it; known are: {', '.join(known) or 'none'}")
        for name in settings
        if name not in known
    ]
    if violations:
        raise InvalidInput("some settings are unknown", reason="bad_settings", violations=violations)
