"""How the files of a run come into its pods, and its words out of them: the one thing in which ways differ.

Whatever the way, the supervisor in a pod finds the trees at ``/cfs``, appends what ranks print to a file for
each in ``/pollinator/output``, and keeps a journal in ``/pollinator/control``: one file for each node, named
by its number, to which lines are only ever added. It reads there what it is told: ``go`` and ``stop``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pollinator.chunks.store import Store
from pollinator.executors.base import Fetched, Job, Tell
from pollinator.v1.run_pb2 import Notice

Manifest = dict[str, Any]
"""An object of the cluster, or a part of one, as it goes over the wire."""

WORK = "/cfs"
OURS = "/pollinator"
OUTPUT = f"{OURS}/output"
CONTROL = f"{OURS}/control"
HOME = f"{OURS}/home"
GO, STOP = "go", "stop"
"""Files by which a supervisor is told that all nodes are there, and that it has to end."""

FETCH, COLLECT = "fetch", "collect"
"""Containers before the ranks and beside them, in pods that share no volume with the executor."""

JOURNAL_BYTES = 1 << 20
"""No more of a journal is read: ranks could write to it as well."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a way adds to a pod."""

    volumes: Sequence[Manifest] = ()
    mounts: Sequence[Manifest] = ()
    """Of the container in which the ranks are."""
    before: Sequence[Manifest] = ()
    """Containers that have to end before it begins, or that run beside it from before."""
    extra_s: int = 0
    """So much longer than their time the pods may be there."""
    grace_s: int = 0
    """So long they may take to end, at least."""


@dataclass(frozen=True, slots=True)
class PodSeen:
    """One pod of an attempt, for whoever brings its words here."""

    node: int
    uid: str
    ended: bool
    """Its ranks' container has ended, or never will begin."""
    gone: bool
    """No container of it runs any more: it has ended as a whole, was removed, or is lost with its node."""


class Data(ABC):
    """One way. Methods that are not async may block, and are called from threads unless they say more."""

    stages = False
    """Runs have no folder that pods see: see ``Executor.stages``."""

    @abstractmethod
    def parts(self, job: Job, attempt: int) -> Parts:
        """What the pods of an attempt have, counted from 1. Decides only; for the loop's thread."""

    def awaited(self, job: Job, attempt: int) -> str | None:
        """Why what an attempt needs before it is handed over does not come; empty where it is on its way.

        None where all is there. Quick, for the loop's thread.
        """
        return None

    @abstractmethod
    def prepare(self, job: Job, attempt: int) -> None:
        """Have everything ready for the pods of an attempt that is not handed over. Harmless when repeated.

        Raises:
            OSError: it cannot be written; it is tried again.
        """

    async def objects(self, job: Job, attempt: int) -> list[Manifest]:
        """Objects that the pods need besides; they are made once the Job is there, and belong to it.

        Raises:
            PollinatorError: they cannot be had.
        """
        return []

    @abstractmethod
    def journal(self, job: Job, attempt: int, node: int, offset: int) -> bytes:
        """What a node's journal holds from there on. Must be quick: called on the loop's thread."""

    @abstractmethod
    def tell(self, job: Job, attempt: int, name: str, text: str) -> None:
        """Fill the file ``go`` or ``stop`` of an attempt with one line.

        Raises:
            OSError: it cannot be written.
        """

    def see(self, job: Job, attempt: int, pods: Sequence[PodSeen]) -> None:
        """How all of its pods are now. Quick, for the loop's thread; told at each change and after a restart.

        One that was told of before and is not any more is gone.
        """
        return

    def settled(self, job: Job, attempt: int) -> bool:
        """All that an attempt had to tell whose pods have ended is here. Quick, for the loop's thread.

        For attempts whose journals do not say that they are done: with those that do it is here already.
        """
        return True

    async def serve(self) -> None:
        """What has to be done all the time; cancelled when the process ends."""
        return

    async def stage(self, job: Job, store: Store, tell: Tell) -> list[Notice]:
        """As ``Executor.stage``."""
        raise NotImplementedError

    async def fetch(self, job: Job, tell: Tell) -> Fetched:
        """As ``Executor.fetch``."""
        raise NotImplementedError

    def forget(self, job: Job) -> None:
        """The run has ended and its results are safe. For the loop's thread."""
        return
