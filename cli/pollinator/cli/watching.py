"""Following runs that are there already: ``logs`` and ``wait``."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from pollinator.cli.connect import Daemon, connected
from pollinator.cli.exits import Exit, code_of_run
from pollinator.cli.folder import project_or_any
from pollinator.cli.follow import Follower, find_run
from pollinator.cli.plain import json_text, plain
from pollinator.cli.problems import tell_problems
from pollinator.cli.terminal import Terminal
from pollinator.cli.view import ENDS, JsonView, Style, TerminalView, View
from pollinator.v1.run_pb2 import Run, WatchRunRequest, WatchRunResponse
from pollinator.wire.errors import InvalidInput


async def print_logs(
    named: str,
    terminal: Terminal,
    style: Style,
    *,
    follow: bool,
    tail: int,
    as_json: bool,
    cancel_on_interrupt: bool,
    problems: bool,
) -> int:
    """Print what a run printed so far, or until its end; returns the exit code."""
    async with connected(terminal) as daemon:
        run = await find_run(daemon, named, project_or_any())
        _check_rank(run, style)
        view = _view(run, terminal, style, as_json=as_json)
        # What happened before is no news; only what happens from now on is told.
        request = WatchRunRequest(
            run_id=run.id, after_seq=run.last_seq, output=True, follow=follow, tail_lines=tail
        )
        follower = Follower(daemon, terminal, cancel_on_interrupt=cancel_on_interrupt)
        run = await follower.follow(request, view, run if follow else None)
        if follow and problems:
            await tell_problems(daemon, terminal, run, as_json=as_json)
    return code_of_run(run) if follow else int(Exit.OK)


async def wait_for(named: Sequence[str], terminal: Terminal, *, timeout_s: int | None, as_json: bool) -> int:
    """Wait for the end of all runs; returns the exit code."""
    async with connected(terminal) as daemon:
        root = project_or_any()
        runs = [await find_run(daemon, each, root) for each in named]
        try:
            async with asyncio.timeout(timeout_s):
                ended = [await until_ended(daemon, terminal, run, as_json=as_json) for run in runs]
        except TimeoutError:
            terminal.fail(f"not ended within {timeout_s} s; the runs go on")
            return int(Exit.NOT_ENDED)
    codes = [code_of_run(run) for run in ended]
    return next((code for code in codes if code), int(Exit.OK))


async def until_ended(daemon: Daemon, terminal: Terminal, run: Run, *, as_json: bool = False) -> Run:
    """Wait for the end of a run and say how it ended."""
    request = WatchRunRequest(run_id=run.id, after_seq=run.last_seq, follow=True)
    return await Follower(daemon, terminal).follow(request, _End(terminal, run, as_json=as_json))


class _End:
    """Shows nothing but the end."""

    def __init__(self, terminal: Terminal, run: Run, *, as_json: bool) -> None:
        self._terminal = terminal
        self._words = TerminalView(terminal, run, Style())
        self._as_json = as_json

    def take(self, message: WatchRunResponse) -> None:
        """Nothing is shown on the way."""

    def end(self, run: Run) -> None:
        """How it ended, for people and for programs."""
        self._words.end(run)
        if self._as_json and run.state in ENDS:
            self._terminal.print(json_text(plain(run)))


def _view(run: Run, terminal: Terminal, style: Style, *, as_json: bool) -> View:
    if as_json:
        return JsonView(terminal, style)
    view = TerminalView(terminal, run, style)
    if style.events:
        view.tell_pending(run.pending)
        if run.HasField("unreachable_since"):
            view.tell_silence(run.unreachable_detail)
    return view


def _check_rank(run: Run, style: Style) -> None:
    ranks = max(1, run.spec.nodes) * max(1, run.spec.processes_per_node)
    if style.rank is not None and style.rank >= ranks:
        raise InvalidInput(
            f"run {run.id} has no rank {style.rank}",
            reason="bad_rank",
            hint=f"its ranks are 0 to {ranks - 1}",
        )
