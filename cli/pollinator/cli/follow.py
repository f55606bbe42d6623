"""Starting and following runs: what ``run``, ``rerun``, ``logs`` and ``wait`` have in common.

Ctrl-C lets go of a run, which goes on; a second one ends this program at once.
"""

from __future__ import annotations

import asyncio
import getpass
import os
import re
import signal
import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType

from pollinator.cli.connect import LONG_S, PATIENCE_S, Daemon
from pollinator.cli.exits import Exit
from pollinator.cli.session import Detached, beside
from pollinator.cli.terminal import Terminal
from pollinator.cli.transfers import show_upload
from pollinator.cli.tunnel import keep_tunnel
from pollinator.cli.view import View
from pollinator.v1.run_pb2 import (
    CancelRunRequest,
    GetRunRequest,
    ListRunsRequest,
    Run,
    StartRunRequest,
    WatchRunRequest,
)
from pollinator.wire.errors import NotFound
from pollinator.wire.faults import crash_point
from pollinator.wire.streams import follow_run

_EARLIER = re.compile(r"latest~(\d{1,3})")


async def find_run(daemon: Daemon, named: str, root: str) -> Run:
    """The run with this id or unique prefix; ``latest`` is the newest of the project in ``root``.

    ``latest~1`` is the one before it, and so on.

    Raises:
        NotFound: there is no such run.
        InvalidInput: more than one begins so.
    """
    if earlier := _EARLIER.fullmatch(named):
        return await _earlier_run(daemon, int(earlier[1]), root)
    answer = await daemon.ask(daemon.runs.GetRun, GetRunRequest(run_id=named, root=root))
    return answer.run


async def _earlier_run(daemon: Daemon, back: int, root: str) -> Run:
    answer = await daemon.ask(daemon.runs.ListRuns, ListRunsRequest(root=root, page_size=back + 1))
    if len(answer.runs) <= back:
        raise NotFound(
            f"there are only {len(answer.runs)} runs", reason="run_missing", hint="pollinator list shows them"
        )
    return answer.runs[back]


async def unfinished_runs(daemon: Daemon, root: str) -> list[Run]:
    """The runs of a project that have not ended."""
    found: list[Run] = []
    request = ListRunsRequest(root=root, active=True)
    while True:
        answer = await daemon.ask(daemon.runs.ListRuns, request)
        found += answer.runs
        if not answer.next_page_token:
            return found
        request.page_token = answer.next_page_token


async def cancel_run(daemon: Daemon, run_id: str, *, superseded: bool = False) -> Run:
    """Record the wish that a run ends, for a newer one if it is ``superseded``."""
    by = f"{getpass.getuser()}@{socket.gethostname()}"
    request = CancelRunRequest(run_id=run_id, by=by, superseded=superseded)
    answer = await daemon.ask(daemon.runs.CancelRun, request)
    return answer.run


async def run_of_request(daemon: Daemon, request_id: str) -> Run | None:
    """The run that a request started, when it is not over yet; the reply may not have come."""
    answer = await daemon.ask(daemon.runs.ListRuns, ListRunsRequest(active=True, page_size=100))
    return next((run for run in answer.runs if run.request_id == request_id), None)


def tell_let_go(terminal: Terminal, run_id: str) -> None:
    """A run goes on that nobody follows any more."""
    terminal.say("Detached; the run goes on", ProcessID=run_id)
    terminal.say(f"  come back:  pollinator logs -f {run_id}")
    terminal.say(f"  end it:     pollinator cancel {run_id}")


class Follower:
    """Follows one run after another with one way of showing things and one meaning of Ctrl-C."""

    def __init__(self, daemon: Daemon, terminal: Terminal, *, cancel_on_interrupt: bool = False) -> None:
        self._daemon = daemon
        self._terminal = terminal
        self._cancel_on_interrupt = cancel_on_interrupt

    async def start(self, request: StartRunRequest) -> Run:
        """Start a run and return it with its snapshot sealed, or failed.

        Raises:
            Detached: the user pressed Ctrl-C.
            PollinatorError: what the daemon said.
        """

        async def ask() -> Run:
            crash_point("cli_before_start")
            answer = await self._daemon.ask(self._daemon.runs.StartRun, request, timeout_s=LONG_S)
            crash_point("cli_after_start")
            return answer.run

        with interrupts() as interrupted:
            work = ask()
            if root := request.project.root:
                work = beside(work, show_upload(self._daemon, self._terminal, root))
            run = await beside(work, self._on_start_cut(interrupted, request.request_id))
        self._terminal.clear_bar()
        return run

    async def follow(self, request: WatchRunRequest, view: View, run: Run | None = None) -> Run:
        """Show a run until the stream ends; returns the run as it is then.

        Args:
            request: from where on.
            view: how it looks.
            run: if given, the tunnel that it asks for is there meanwhile.

        Raises:
            Detached: the user pressed Ctrl-C.
            PollinatorError: what the daemon said.
        """

        async def show() -> None:
            async for message in follow_run(
                self._daemon.runs, request, patience_s=PATIENCE_S, on_cut=self._daemon.revive
            ):
                view.take(message)
                crash_point("cli_after_message")

        work = show()
        if run is not None and run.spec.HasField("tunnel"):
            work = beside(work, keep_tunnel(self._daemon, self._terminal, run))
        with interrupts() as interrupted:
            await beside(work, self._on_interrupt(interrupted, request.run_id))
        run = await find_run(self._daemon, request.run_id, "")
        self._terminal.clear_bar()
        view.end(run)
        return run

    async def _on_interrupt(self, interrupted: asyncio.Event, run_id: str) -> None:
        await interrupted.wait()
        if self._cancel_on_interrupt:
            await cancel_run(self._daemon, run_id)
            return
        self._let_go(run_id)

    async def _on_start_cut(self, interrupted: asyncio.Event, request_id: str) -> None:
        await interrupted.wait()
        run = await run_of_request(self._daemon, request_id)
        if run is None:
            raise Detached
        await self._on_interrupt(interrupted, run.id)

    def _let_go(self, run_id: str) -> None:
        tell_let_go(self._terminal, run_id)
        raise Detached


@contextmanager
def interrupts(at_once: Callable[[], None] | None = None) -> Generator[asyncio.Event]:
    """An event that Ctrl-C sets; the second Ctrl-C ends this process at once, even in a blocked write.

    ``at_once`` is done before that: the loop may never come to what it would do at its end.
    """
    interrupted = asyncio.Event()
    loop = asyncio.get_running_loop()
    pressed = False

    def on_interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal pressed
        if pressed:
            if at_once is not None:
                at_once()
            os._exit(Exit.INTERRUPTED)
        pressed = True
        loop.call_soon_threadsafe(interrupted.set)

    before = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, before)
