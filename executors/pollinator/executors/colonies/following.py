"""Follows processes of a colony: how they are, what they print, why they wait; and ends them when wished.

A colony is asked; where it tells by itself that a process has begun or ended, it is asked less.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime

from pollinator.executors.colonies.client import MOST_LOGS, Client
from pollinator.executors.colonies.ends import End, end_of
from pollinator.executors.colonies.handover import LOG, Handover, Staged
from pollinator.executors.colonies.line import Line
from pollinator.executors.colonies.messages import ENDED, Process, State
from pollinator.executors.colonies.printed import Printed
from pollinator.executors.colonies.targets import Choice, pending
from pollinator.v1.run_pb2 import Outcome, RunState
from pollinator.wire.errors import Denied, NotFound, PollinatorError
from pollinator.wire.faults import crash_point

FIRST_LOOK_S = 0.2
LOOK_S = 1.0
TOLD_LOOK_S = 5.0
"""Between questions how a process is; the last where the server tells when that changes."""
FIRST_READ_S = 0.2
READ_S = 1.0
"""Between questions what it has printed; the last where it has been silent for a while."""
SLOWER = 1.4
READ_SLOWER = 1.05
"""A program that was silent for five seconds is still asked every half of one: somebody may be watching."""
QUESTIONS_A_SECOND = 50
"""So many about all processes together."""
EXPLAIN_S = 5.0
AGAIN_S = 5.0
"""Between tries of what the server does not take."""
TELL_S = 60.0
"""So long a server is listened to at a time."""
DEAF_S = 30.0
"""So long a server that does not tell is left alone."""
LISTENED_TO = 64
"""So many processes are listened to at once: each is a connection."""
WHY_S = 1.0
"""So long the reasons of a failure may come after it."""
LOST_S = 60.0
"""So long after the server has said that it knows no such process."""
REFUSED_S = 600.0
"""So long after the server has begun to say that this is none of our business."""

_log = logging.getLogger(__name__)


class Following:
    """What is shared by all runs that are followed.

    Args:
        count: how many there are.
    """

    def __init__(self, count: Callable[[], int]) -> None:
        self._count = count
        self._ears = asyncio.Semaphore(LISTENED_TO)

    async def follow(self, run: Handover, line: Line) -> None:
        """Follow a run that the colony has, until it has ended."""
        one = _Followed(run, line, self._ears, self._count)
        async with asyncio.TaskGroup() as group:
            besides = [
                group.create_task(one.listen(), name=f"listen {run.job.run_id}"),
                group.create_task(one.cancel(), name=f"cancel {run.job.run_id}"),
                group.create_task(one.explain(), name=f"explain {run.job.run_id}"),
            ]
            await one.watch()
            for task in besides:
                task.cancel()


class _Followed:
    """One run."""

    def __init__(self, run: Handover, line: Line, ears: asyncio.Semaphore, count: Callable[[], int]) -> None:
        self._run = run
        self._line = line
        self._client: Client = line.client
        self._ears = ears
        self._count = count
        self._printed = Printed(run.job.output, run.path / LOG)
        self._news = asyncio.Event()
        self._told = False
        """The server tells when it changes."""
        self._look_s = FIRST_LOOK_S
        self._read_s = FIRST_READ_S
        self._begun = time.monotonic()
        self._look_at = 0.0
        self._lost_at: float | None = None
        self._refused_at: float | None = None

    async def watch(self) -> None:
        """Ask until it has ended."""
        while self._run.ended is None:
            try:
                await self._ask()
                self._lost_at = self._refused_at = None
            except NotFound as error:
                self._missing(error)
            except Denied as error:
                self._denied(error)
            except PollinatorError as error:
                _log.info("run %s: %s", self._run.job.run_id, error.message)
            except OSError as error:
                # A disk that is full has room again some time.
                _log.warning("run %s: %s", self._run.job.run_id, error)
            if self._run.ended is None:
                await self._rest()

    async def listen(self) -> None:
        """Hear from the server when it begins and when it ends."""
        while True:
            async with self._ears:
                states = set(ENDED)
                if self._run.state == RunState.RUN_STATE_QUEUED:
                    states.add(State.RUNNING)
                self._told = True
                try:
                    if await self._client.reached(self._run.process_id, states, TELL_S):
                        self._wake()
                        await asyncio.sleep(FIRST_LOOK_S)
                    continue
                except PollinatorError as error:
                    _log.debug("run %s: the colony does not tell: %s", self._run.job.run_id, error.message)
                finally:
                    self._told = False
            self._wake()
            await asyncio.sleep(DEAF_S)

    async def cancel(self) -> None:
        """Once that is wished, have the process ended."""
        await self._run.cancel_wished.wait()
        crash_point("before_cancel")
        while True:
            try:
                await self._client.cancel(self._run.process_id)
                self._wake()
                return
            except PollinatorError as error:
                # It may have ended, which is about to be seen.
                _log.info("run %s is not cancelled yet: %s", self._run.job.run_id, error.message)
                self._wake()
            await asyncio.sleep(AGAIN_S)

    async def explain(self) -> None:
        """Say why it waits, as long as it does."""
        while True:
            if self._run.state == RunState.RUN_STATE_QUEUED:
                with contextlib.suppress(PollinatorError):
                    await self._explain()
            await asyncio.sleep(EXPLAIN_S)

    # Asking

    async def _ask(self) -> None:
        now = time.monotonic()
        if now >= self._look_at:
            process = await self._client.process(self._run.process_id)
            self._look_at = now + self._next_look_s()
            if process.has_ended:
                await self._end(process)
                return
            if process.state == State.RUNNING:
                await self._read()
            before = self._run.state
            self._run.see(process, printed=self._printed.anything)
            if self._run.state != before:
                self._look_s = FIRST_LOOK_S
                self._look_at = 0.0
        elif self._run.state != RunState.RUN_STATE_QUEUED and await self._read():
            self._run.says_something()

    async def _read(self) -> bool:
        """Take what it has printed; whether there was anything."""
        news = False
        while True:
            since_ns = self._printed.since_ns
            rows = await self._client.logs(self._run.process_id, since_ns, MOST_LOGS)
            full = len(rows) >= MOST_LOGS
            news = self._printed.add(rows, full=full) or news
            if not full or self._printed.since_ns == since_ns:
                break
        self._read_s = FIRST_READ_S if news else min(self._read_s * READ_SLOWER, READ_S)
        return news

    async def _end(self, process: Process) -> None:
        # Nothing is added to a log any more.
        await self._read()
        if process.state == State.FAILED and not process.errors:
            # The server writes that it has failed first, and why right after that.
            await asyncio.sleep(WHY_S)
            process = await self._client.process(self._run.process_id)
        staged = self._run.staged
        ours = staged is not None and staged.ours
        end = end_of(process, ours=ours, wished=self._run.cancelled)
        crash_point("before_ended")
        self._run.end(end, process)

    async def _explain(self) -> None:
        staged = self._run.staged or Staged((), "", ours=False)
        choice = Choice(tuple(staged.names), staged.type, staged.ours, staged.location)
        executors = await self._line.executors()
        # One of an earlier moment does not have it, and so not who is ahead of it either.
        waiting = await self._line.waiting(self._begun)
        mine = next((each for each in waiting if each.id == self._run.process_id), None)
        ahead = sum(_is_ahead(each, mine) for each in waiting) if mine is not None else 0
        self._run.pending = pending(choice, executors, ahead, datetime.now(UTC))

    # Its pace

    def _next_look_s(self) -> float:
        longest = TOLD_LOOK_S if self._told else LOOK_S
        self._look_s = min(self._look_s * SLOWER, longest)
        return max(self._look_s, self._count() / QUESTIONS_A_SECOND)

    async def _rest(self) -> None:
        pause_s = max(0.0, self._look_at - time.monotonic())
        if self._run.state != RunState.RUN_STATE_QUEUED:
            pause_s = min(pause_s, max(self._read_s, self._count() / QUESTIONS_A_SECOND))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(pause_s, 0.02)):
                await self._news.wait()
        self._news.clear()

    def _wake(self) -> None:
        self._look_at = 0.0
        self._news.set()

    # What cannot be asked

    def _missing(self, error: NotFound) -> None:
        now = time.monotonic()
        self._look_at = now + LOOK_S
        self._lost_at = self._lost_at or now + LOST_S
        if now > self._lost_at:
            detail = f"the colony does not know its process {self._run.process_id} any more: {error.message}"
            self._run.end(End(RunState.RUN_STATE_LOST, Outcome(detail=detail)))

    def _denied(self, error: Denied) -> None:
        now = time.monotonic()
        self._look_at = now + LOOK_S
        self._refused_at = self._refused_at or now + REFUSED_S
        _log.warning("run %s: %s", self._run.job.run_id, error.message)
        if now > self._refused_at:
            detail = f"the colony does not let us look at process {self._run.process_id}: {error.message}"
            self._run.end(End(RunState.RUN_STATE_LOST, Outcome(detail=detail)))


def _is_ahead(other: Process, mine: Process) -> bool:
    """Another process waits for the same executors, and came before."""
    if other.submitted is None or mine.submitted is None or other.submitted >= mine.submitted:
        return False
    wishes = [each.spec.get("conditions", {}) for each in (other, mine)]
    if wishes[0].get("executortype") != wishes[1].get("executortype"):
        return False
    places = {str(each.get("locationname") or "").lower() for each in wishes} - {""}
    if len(places) > 1:
        return False
    names = [set(each.get("executornames") or ()) for each in wishes]
    return not names[0] or not names[1] or bool(names[0] & names[1])
