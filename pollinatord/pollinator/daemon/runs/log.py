"""The append-only log of every run, and the row derived from it, in one SQLite file.

An event and the row it leads to are written in one transaction, so a restart finds them agreeing. A commit
in WAL mode costs some 20 us, less than a hop to another thread, so the log is used on the loop's thread.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Sequence

from pollinator.daemon.database import Connection
from pollinator.daemon.records import Records
from pollinator.daemon.runs.changes import RunChanges
from pollinator.daemon.runs.output import OutputFiles
from pollinator.model.ids import RANDOM_BYTES, run_id, time_of
from pollinator.model.run import apply, is_terminal
from pollinator.v1.run_pb2 import (
    ListRunsRequest,
    OutcomeReason,
    Progress,
    Run,
    RunEvent,
    RunState,
    StartRunRequest,
)
from pollinator.wire.errors import InvalidInput, NotFound

RUN_MIGRATION = """
CREATE TABLE run (
    id TEXT PRIMARY KEY,
    request_id TEXT NOT NULL UNIQUE,
    root TEXT NOT NULL,
    active INTEGER NOT NULL,
    accepted_ms INTEGER NOT NULL,
    body BLOB NOT NULL,
    request BLOB NOT NULL,
    executor_seq INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX run_by_root ON run (root, id);
CREATE INDEX run_active ON run (active) WHERE active;
CREATE TABLE event (
    run_id TEXT NOT NULL,
    seq INTEGER NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (run_id, seq)
) WITHOUT ROWID;
"""

HELD_MIGRATION = """
CREATE TABLE held (run_id TEXT PRIMARY KEY) WITHOUT ROWID;
INSERT INTO held SELECT id FROM run;
"""
"""Runs of which an executor may have a copy; of those from before, nobody knows."""

DEFAULT_PAGE = 100


class RunLog:
    """All runs of this daemon. It is a ``RunSource``, so that runs can be watched."""

    def __init__(self, records: Records, output: OutputFiles, clock_ns: Callable[[], int]) -> None:
        self._records = records
        self._output = output
        self._clock_ns = clock_ns
        self._bells: dict[str, asyncio.Event] = {}
        self._rung: dict[str, int] = {}
        self._rings = 0
        self._progress: dict[str, Progress] = {}
        self.ended = Counter[tuple[RunState.ValueType, OutcomeReason.ValueType]]()
        """Runs that ended since the start, by state and reason."""
        self._active: dict[str, Run] = {}
        self.changes = RunChanges()
        """Which runs are not as they were."""
        self.on_change: Callable[[Run], None] | None = None
        """Told of a run when it has files or results that it did not have before, and at its end."""
        for (body,) in records.read("SELECT body FROM run WHERE active ORDER BY id"):
            run = Run.FromString(body)
            self._active[run.id] = run
        # Ids of runs without a folder were made by others.
        ((newest,),) = records.read("SELECT max(id) FROM run WHERE root != ''")
        self._newest_ms = time_of(newest) if newest else 0

    # Writing

    def new_id(self) -> str:
        """An id for a run that is about to be accepted; sorts after all before, whatever the clock says."""
        now_ms = self._clock_ns() // 1_000_000
        self._newest_ms = max(now_ms, self._newest_ms + 1)
        return run_id(self._newest_ms, os.urandom(RANDOM_BYTES))

    def accept(self, run: Run, request: StartRunRequest, *events: RunEvent) -> Run:
        """Write a new run, the request it came from, and its first events, in one transaction.

        The request must be free of secrets.
        """
        accepted = Run()
        log = [RunEvent(accepted=run), *events]
        for event in log:
            self._stamp(event, accepted.last_seq + 1)
            accepted = apply(accepted, event)
        with self._records.change() as database:
            database.execute(
                "INSERT INTO run (id, request_id, root, active, accepted_ms, body, request)"
                " VALUES (?, ?, ?, 1, ?, ?, ?)",
                (
                    run.id,
                    run.request_id,
                    run.root,
                    run.accept_time.ToMilliseconds(),
                    accepted.SerializeToString(),
                    request.SerializeToString(),
                ),
            )
            for event in log:
                _insert(database, run.id, event)
        self._active[run.id] = accepted
        self.changes.note(run.root, run.id)
        return accepted

    def append(self, run_id: str, *events: RunEvent, executor_seq: int | None = None) -> Run:
        """Write events and the row they lead to in one transaction.

        Args:
            run_id: the run.
            events: without sequence numbers; they are filled in. May be none, to move ``executor_seq`` only.
            executor_seq: how far the executor's own log has been taken over with these events.

        Raises:
            InvalidMove: an event asks for a move that is not allowed; nothing is written.
        """
        run = self.get(run_id)
        for event in events:
            self._stamp(event, run.last_seq + 1)
            run = apply(run, event)
        with self._records.change() as database:
            for event in events:
                _insert(database, run_id, event)
            if run.state == RunState.RUN_STATE_LAUNCHING:
                database.execute("INSERT OR IGNORE INTO held VALUES (?)", (run_id,))
            database.execute(
                "UPDATE run SET body = ?, active = ?, executor_seq = coalesce(?, executor_seq) WHERE id = ?",
                (run.SerializeToString(), not is_terminal(run.state), executor_seq, run_id),
            )
        if is_terminal(run.state):
            self._active.pop(run_id, None)
            self.ended[run.state, run.outcome.reason] += 1
        else:
            self._active[run_id] = run
        if events:
            self.changes.note(run.root, run_id)
        self.ring(run_id)
        if self.on_change is not None and (is_terminal(run.state) or any(map(_brings_files, events))):
            self.on_change(run)
        return run

    def let_go(self, run_id: str) -> None:
        """Its executor has no copy of the run any more, or need not keep it."""
        with self._records.change() as database:
            database.execute("DELETE FROM held WHERE run_id = ?", (run_id,))

    def _stamp(self, event: RunEvent, seq: int) -> None:
        event.seq = seq
        event.time.FromNanoseconds(self._clock_ns())

    # Reading

    def active(self) -> list[Run]:
        """Runs that have not ended, oldest first."""
        return [self._active[run_id] for run_id in sorted(self._active)]

    def by_request(self, request_id: str) -> Run | None:
        """The run that a request with this id started."""
        rows = self._records.read("SELECT body FROM run WHERE request_id = ?", (request_id,))
        return Run.FromString(rows[0][0]) if rows else None

    def by_id(self, run_id: str) -> Run | None:
        """The run with exactly this id, if there is one."""
        rows = self._records.read("SELECT body FROM run WHERE id = ?", (run_id,))
        return Run.FromString(rows[0][0]) if rows else None

    def is_held(self, run_id: str) -> bool:
        """Its executor may have a copy of the run, and was not told yet that nobody needs it."""
        return bool(self._records.read("SELECT 1 FROM held WHERE run_id = ?", (run_id,)))

    def held(self) -> list[str]:
        """Ids of runs that have ended and are held, oldest first."""
        query = "SELECT run_id FROM held JOIN run ON id = run_id WHERE NOT active ORDER BY run_id"
        return [run_id for (run_id,) in self._records.read(query)]

    def request_of(self, run_id: str) -> StartRunRequest:
        """The request, free of secrets, that started a run."""
        ((body,),) = self._records.read("SELECT request FROM run WHERE id = ?", (run_id,))
        return StartRunRequest.FromString(body)

    def executor_seq(self, run_id: str) -> int:
        """How far the executor's own log has been taken over."""
        ((seq,),) = self._records.read("SELECT executor_seq FROM run WHERE id = ?", (run_id,))
        return int(seq)

    def find(self, name: str, root: str = "") -> Run:
        """The run with this id or unique prefix, or the newest when ``name`` is ``latest``.

        Raises:
            NotFound: none fits.
            InvalidInput: several fit.
        """
        if name == "latest":
            found = self.select(ListRunsRequest(root=root, page_size=1))
            if not found:
                raise NotFound("there is no run yet", reason="run_missing", hint="start one: pollinator run")
            return found[0]
        found = self.select(ListRunsRequest(id_prefix=name.lower(), page_size=4)) if name else []
        exact = [run for run in found if run.id == name.lower()]
        if exact or len(found) == 1:
            return (exact or found)[0]
        if not found:
            raise NotFound(
                f"there is no run {name!r}", reason="run_missing", hint="pollinator list shows all runs"
            )
        raise InvalidInput(
            f"{name!r} fits several runs: {', '.join(run.id for run in found)}",
            reason="run_ambiguous",
            hint="give more characters of the id",
        )

    def select(self, request: ListRunsRequest) -> list[Run]:
        """Runs that fit the request, newest first, at most ``page_size``."""
        prefix = request.id_prefix
        query = "SELECT body FROM run WHERE id >= ? AND id < ? AND accepted_ms >= ?"
        values: list[str | int] = [
            prefix,
            min(prefix + "\x7f", request.page_token or "\x7f"),
            request.since.ToMilliseconds(),
        ]
        if request.root:
            query += " AND root = ?"
            values.append(request.root)
        if request.active:
            query += " AND active"
        rows = self._records.read(
            query + " ORDER BY id DESC LIMIT ?", (*values, request.page_size or DEFAULT_PAGE)
        )
        return [Run.FromString(body) for (body,) in rows]

    # RunSource

    def get(self, run_id: str) -> Run:
        """The run with exactly this id."""
        run = self._active.get(run_id)
        if run is not None:
            return run
        run = self.by_id(run_id)
        if run is None:
            raise NotFound(f"there is no run {run_id!r}", reason="run_missing")
        return run

    def events(self, run_id: str, after_seq: int) -> Sequence[RunEvent]:
        """Events after a sequence number, in order."""
        run = self._active.get(run_id)
        if run is not None and run.last_seq <= after_seq:
            return ()
        rows = self._records.read(
            "SELECT body FROM event WHERE run_id = ? AND seq > ? ORDER BY seq", (run_id, after_seq)
        )
        return [RunEvent.FromString(body) for (body,) in rows]

    def ranks(self, run_id: str) -> Sequence[int]:
        """Ranks that have printed something so far."""
        return self._output.ranks(run_id)

    def output_size(self, run_id: str, rank: int) -> int:
        """Bytes of output of a rank that are here."""
        return self._output.size(run_id, rank)

    def read_output(self, run_id: str, rank: int, offset: int, limit: int) -> bytes:
        """A piece of a rank's output."""
        return self._output.read(run_id, rank, offset, limit)

    def output_complete(self, run_id: str) -> bool:
        """A run ends here only after all of its output was copied."""
        return is_terminal(self.get(run_id).state)

    def progress(self, run_id: str) -> Progress | None:
        """Bytes on their way now."""
        return self._progress.get(run_id)

    def version(self, run_id: str) -> int:
        """Counts the rings of all bells until this run's last; 0 when it has not rung since the start."""
        return self._rung.get(run_id, 0)

    async def changed(self, run_id: str, seen: int, timeout_s: float) -> None:
        """Sleep until the run's bell rings after ``seen``, or the time is over."""
        if self.version(run_id) > seen:
            return
        bell = self._bells.setdefault(run_id, asyncio.Event())
        try:
            async with asyncio.timeout(timeout_s):
                await bell.wait()
        except TimeoutError:
            return

    def tell(self, run_id: str, progress: Progress | None) -> None:
        """How far a transfer is, for whoever follows; nothing is written down."""
        if progress is None:
            self._progress.pop(run_id, None)
        else:
            self._progress[run_id] = progress
            self.ring(run_id)

    def ring(self, run_id: str) -> None:
        """Wake all who wait for news of this run."""
        self._rings += 1
        self._rung[run_id] = self._rings
        bell = self._bells.pop(run_id, None)
        if bell is not None:
            bell.set()


def _brings_files(event: RunEvent) -> bool:
    return event.WhichOneof("kind") in ("sealed", "collected")


def _insert(database: Connection, run_id: str, event: RunEvent) -> None:
    database.execute(
        "INSERT INTO event (run_id, seq, body) VALUES (?, ?, ?)",
        (run_id, event.seq, event.SerializeToString()),
    )
