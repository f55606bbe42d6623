"""One run on its way through a colony: what is known of it, and its files, which outlive the process."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pollinator.executors.base import Job, Observation
from pollinator.executors.colonies.ends import ATTEMPT, NODES, End, Told, outcome_text, read_outcome
from pollinator.executors.colonies.funcspec import Mount
from pollinator.executors.colonies.messages import Process, State
from pollinator.executors.intent import Intent
from pollinator.executors.records import STARTED, read_record, write_json
from pollinator.v1.run_pb2 import Notice, Outcome, OutcomeReason, PendingReason, RunState, Severity
from pollinator.wire.errors import PollinatorError

STAGED = "staged.json"
"""Where its files are in the colony, and who may take it."""
PROCESS = "process.json"
"""Which process it is, and what was heard of it last."""
ENDED = "ended.json"
CANCEL = "cancel"
LOG = "log.json"
"""How far its log was read."""

_S = RunState
_TAKEN = (_S.RUN_STATE_STARTING, _S.RUN_STATE_RUNNING)
_ATTEMPT = re.compile(rf"{ATTEMPT}([1-9][0-9]{{0,3}})")
_MOST = 1000
"""Nobody means more attempts than that."""


@dataclass(frozen=True, slots=True)
class Staged:
    """What was decided when its files were taken to the colony."""

    names: Sequence[str]
    type: str
    ours: bool
    """Executors of ours take it."""
    src: Mount | None = None
    data: Mount | None = None
    location: str = ""


class Handover:
    """One run."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.path = job.workspace
        self.cancel_wished = asyncio.Event()
        self.pending: PendingReason | None = None
        """Why it waits."""
        self.ended: End | None = _read_end(read_record(self.path / ENDED))
        known = read_record(self.path / PROCESS) or {}
        self.process_id = str(known.get("id", ""))
        self.state = RunState.ValueType(known.get("state", _S.RUN_STATE_QUEUED))
        self.nodes: tuple[str, ...] = tuple(known.get("nodes", ()))
        self.again = int(known.get("again", 0))
        """How often it was run again, as its server and our executors count."""
        self.put_back = int(known.get("put_back", 0))
        """How often besides."""
        self.intent = Intent(self.path)
        """There may be a process."""
        if self.cancelled:
            self.cancel_wished.set()

    @property
    def cancelled(self) -> bool:
        """It is wished that the run ends."""
        return (self.path / CANCEL).exists()

    # Its files

    @property
    def staged(self) -> Staged | None:
        """What was decided; None before."""
        told = read_record(self.path / STAGED)
        if told is None:
            return None
        mounts = {name: Mount(**told[name]) if told[name] else None for name in ("src", "data")}
        location = told.get("location", "")
        return Staged(told["names"], told["type"], told["ours"], **mounts, location=location)

    def stage(self, staged: Staged) -> None:
        """From now on its files are there."""
        write_json(self.path / STAGED, asdict(staged), durable=True)

    # Handing over

    def withdraw(self) -> bool:
        """End the run, which has no process, if that is wished."""
        if not self.cancelled:
            return False
        detail = "cancelled before the colony had it"
        self.end(End(_S.RUN_STATE_CANCELLED, Outcome(detail=detail)))
        return True

    def refused(self, error: PollinatorError) -> None:
        """End the run, because the colony does not take it."""
        detail = f"{error.message}\n{error.hint}".strip()
        outcome = Outcome(reason=OutcomeReason.OUTCOME_REASON_LAUNCH, exit_code=1, detail=detail)
        self.end(End(_S.RUN_STATE_FAILED, outcome))

    def is_process(self, process_id: str) -> None:
        """Note which process it is."""
        self.process_id = process_id
        self.pending = None
        self._save()

    # While it is there

    def see(self, process: Process, *, printed: bool) -> None:
        """Take note of how the process is.

        Args:
            process: as it is now.
            printed: it has said something.
        """
        before = self.state, self.nodes, self.again
        nodes = _nodes_of(process)
        again = _again(process)
        if again > max(0, process.retries):
            # Whether that was seen or not.
            self._note_start()
        if process.state == State.WAITING and self.state in _TAKEN and again == self.again:
            # Its executor is gone, which no server counts.
            self.put_back += 1
        if process.state == State.WAITING or again > self.again:
            # Its time was over, or its executor is gone, and it was put back: another may have it already.
            self.state, self.nodes = _S.RUN_STATE_QUEUED, ()
        elif process.state == State.RUNNING:
            self.nodes = nodes or self.nodes
            begun = bool(nodes) or printed or self.state == _S.RUN_STATE_RUNNING
            self.state = _S.RUN_STATE_RUNNING if begun else _S.RUN_STATE_STARTING
        self.again = again
        if (self.state, self.nodes, self.again) != before:
            self._save()
            if self.state == _S.RUN_STATE_RUNNING:
                self._note_start()

    def says_something(self) -> None:
        """It has printed, so it runs."""
        if self.state == _S.RUN_STATE_STARTING:
            self.state = _S.RUN_STATE_RUNNING
            self._save()
            self._note_start()

    def observation(self) -> Observation:
        """How the run looks now."""
        if self.ended is not None:
            end = self.ended
            return Observation(
                end.state, None, self.nodes, end.outcome, end.usage, self._link(), self._attempt
            )
        pending = self.pending if self.state == _S.RUN_STATE_QUEUED else None
        return Observation(self.state, pending, self.nodes, notices=self._link(), attempt=self._attempt)

    def _link(self) -> tuple[Notice, ...]:
        """Where people look at its process, if that is known."""
        dashboard = self.job.source.colony.dashboard_url
        if not dashboard or not self.process_id:
            return ()
        text = f"Follow process at {dashboard}/process?processid={self.process_id}"
        return (Notice(severity=Severity.SEVERITY_INFO, code="dashboard", text=text),)

    def end(self, end: End, process: Process | None = None) -> None:
        """It is over, as its process says if there was one."""
        if process is not None and process.started is not None:
            self.again = _again(process)
            self.nodes = _nodes_of(process) or self.nodes
            self._save()
            self._note_start()
        told = {
            "state": RunState.Name(end.state),
            "outcome": outcome_text(Told(end.outcome, end.result, end.usage, end.notices)),
            "left": end.left,
        }
        write_json(self.path / ENDED, told, durable=True)
        self.ended = end

    @property
    def _attempt(self) -> int:
        return 1 + self.again + self.put_back

    def _note_start(self) -> None:
        if not (self.path / STARTED).exists():
            write_json(self.path / STARTED, {"nodes": list(self.nodes)})

    def _save(self) -> None:
        known: dict[str, Any] = {
            "id": self.process_id,
            "state": int(self.state),
            "nodes": list(self.nodes),
            "again": self.again,
            "put_back": self.put_back,
        }
        write_json(self.path / PROCESS, known, durable=True)


def _again(process: Process) -> int:
    told = [int(found[1]) for found in map(_ATTEMPT.fullmatch, process.attributes) if found]
    return min(max(0, process.retries) + max(told, default=1) - 1, _MOST)


def _nodes_of(process: Process) -> tuple[str, ...]:
    return tuple(filter(None, process.attributes.get(NODES, "").split(",")))


def _read_end(told: dict[str, Any] | None) -> End | None:
    if told is None:
        return None
    known = read_outcome(told["outcome"]) or Told(Outcome())
    state, left = RunState.Value(told["state"]), bool(told["left"])
    return End(state, known.outcome, known.result, known.usage, known.notices, left)
