"""One round of the loop: the smoke test if there is one, then the run, each followed to its end."""

from __future__ import annotations

import asyncio
import time

from pollinator.cli.connect import LONG_S, PATIENCE_S, Daemon
from pollinator.cli.dev.plan import Cause, Plan
from pollinator.cli.dev.screen import Screen
from pollinator.cli.dev.starts import Starts
from pollinator.cli.follow import cancel_run, find_run, run_of_request
from pollinator.cli.problems import tell_problems
from pollinator.cli.session import beside
from pollinator.cli.transfers import show_upload
from pollinator.cli.tunnel import keep_tunnel
from pollinator.cli.view import ENDS, View
from pollinator.v1.project_pb2 import DiffRunsRequest
from pollinator.v1.run_pb2 import Run, RunState, SpecOverrides, StartRunRequest, WatchRunRequest
from pollinator.wire.errors import PollinatorError
from pollinator.wire.faults import crash_point
from pollinator.wire.streams import follow_run

END_S = 10.0
"""So long the next run waits for one that is to end. A job has five seconds to do so."""


class Rounds:
    """Starts runs, follows them and ends them.

    Attributes:
        current: the run that goes on; None when none does.
        newest: the last one that was started, to compare with.
        wishes: what was asked for it beyond project.yaml.
        refused: what was to be started after it was not.
        settled: no run is being started.
    """

    def __init__(self, daemon: Daemon, screen: Screen, starts: Starts, plan: Plan) -> None:
        self._daemon = daemon
        self._screen = screen
        self._starts = starts
        self._plan = plan
        self._asked = ""
        self._started_at = float("-inf")
        self._limit: asyncio.Timeout | None = None
        self.current: Run | None = None
        self.newest: Run | None = None
        self.wishes = SpecOverrides()
        self.refused = False
        self._before: Run | None = None
        self.settled = asyncio.Event()
        self.settled.set()

    def started_within(self, seconds: float) -> bool:
        """A run is being started, or was a moment ago."""
        return not self.settled.is_set() or time.monotonic() - self._started_at < seconds

    async def go(self, cause: Cause) -> None:
        """Do one round; whatever is refused is told."""
        try:
            if self._starts.smoke:
                run = await self._one("smoke", cause, self._starts.small())
                # What was saved meanwhile is to pass first.
                if run.state != RunState.RUN_STATE_SUCCEEDED or self._plan.ending or self._plan.wanted:
                    return
                cause = Cause(word="smoke passed")
            await self._one("run", cause, self._starts.real())
        except PollinatorError as error:
            self._screen.refused(error)

    async def at_work(self) -> Run | None:
        """The run that goes on, or is being started and was accepted.

        Raises:
            PollinatorError: the daemon does not say.
        """
        if self.current is not None or not self._asked:
            return self.current
        return await run_of_request(self._daemon, self._asked)

    async def cancel(self) -> None:
        """End the run that goes on or is being started."""
        try:
            if (run := await self.at_work()) is not None:
                await cancel_run(self._daemon, run.id, superseded=self._plan.superseded)
        except PollinatorError as error:
            self._screen.refused(error)
        if self._limit is not None:
            self._limit.reschedule(asyncio.get_running_loop().time() + END_S)

    async def show_changes(self) -> None:
        """What differs in the newest run from the last one with other files, or on disk from the only one."""
        base, run = self._before or self.newest, self.newest if self._before else None
        if base is None:
            return
        request = DiffRunsRequest(base_run_id=base.id, run_id=run.id if run else "", overrides=self.wishes)
        try:
            answer = await self._daemon.ask(self._daemon.projects.DiffRuns, request, timeout_s=LONG_S)
        except PollinatorError as error:
            self._screen.refused(error)
            return
        self._screen.changes(answer)

    async def _one(self, what: str, cause: Cause, request: StartRunRequest) -> Run:
        """Start a run and follow it to its end."""
        self.settled.clear()
        self._asked = request.request_id
        try:
            run = await self._started(request)
        except PollinatorError:
            self.refused = True
            self._screen.begin(what, cause, None)
            raise
        finally:
            self._asked = ""
            self._started_at = time.monotonic()
            self.settled.set()
        self._before = self.newest if self.newest and self.newest.snapshot != run.snapshot else self._before
        self.newest = self.current = run
        self.wishes, self.refused = request.project.overrides, False
        self._screen.terminal.clear_bar()
        self._screen.begin(what, cause, run)
        try:
            return await self._followed(run)
        finally:
            self.current = None

    async def _started(self, request: StartRunRequest) -> Run:
        crash_point("cli_before_start")
        ask = self._daemon.ask(self._daemon.runs.StartRun, request, timeout_s=LONG_S)
        answer = await beside(ask, show_upload(self._daemon, self._screen.terminal, request.project.root))
        crash_point("cli_after_start")
        return answer.run

    async def _followed(self, run: Run) -> Run:
        view = self._screen.view(run)
        if self._plan.ending and run.state not in ENDS:
            # The wish came while it was being started.
            await cancel_run(self._daemon, run.id, superseded=self._plan.superseded)
        work = self._show(run, view)
        if run.spec.HasField("tunnel"):
            work = beside(work, keep_tunnel(self._daemon, self._screen.terminal, run))
        try:
            async with asyncio.timeout(END_S if self._plan.ending else None) as self._limit:
                await work
        except TimeoutError:
            self._screen.still_ending(run)
        finally:
            self._limit = None
        self._screen.terminal.clear_bar()
        ended = await find_run(self._daemon, run.id, "")
        if ended.state in ENDS:
            # Who quits now lets go of nothing.
            self.current = None
        superseded = self._plan.superseded
        self._screen.end(ended, view, superseded=superseded)
        if not superseded:
            await tell_problems(self._daemon, self._screen.terminal, ended, as_json=self._screen.as_json)
        return ended

    async def _show(self, run: Run, view: View) -> None:
        request = WatchRunRequest(run_id=run.id, output=True, follow=True)
        async for message in follow_run(
            self._daemon.runs, request, patience_s=PATIENCE_S, on_cut=self._daemon.revive
        ):
            view.take(message)
            crash_point("cli_after_message")
