"""From a request to a run that is followed or let go: the common part of ``run`` and ``rerun``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pollinator.cli.connect import Daemon, connected
from pollinator.cli.exits import Exit, code_of_run
from pollinator.cli.folder import project_or_any
from pollinator.cli.follow import Follower, find_run
from pollinator.cli.plain import json_text, plain
from pollinator.cli.problems import tell_problems
from pollinator.cli.requests import Wishes, repeated_run
from pollinator.cli.terminal import Terminal
from pollinator.cli.view import ENDS, JsonView, Style, TerminalView, View, tell_end, tell_notice
from pollinator.v1.run_pb2 import Run, StartRunRequest, WatchRunRequest


def wishes_of(given: Mapping[str, Any]) -> Wishes:
    """The options of ``override_options`` as one value."""
    return Wishes(
        executor=given["executor"],
        settings=given["settings"],
        environment=given["environment"],
        secret_files=given["secret_files"],
        require_container=given["require_container"],
        arguments=given["arguments"],
    )


async def launch(request: StartRunRequest, terminal: Terminal, given: Mapping[str, Any]) -> int:
    """Start the run of a project; returns the exit code."""
    async with connected(terminal) as daemon:
        return await _launch(daemon, request, terminal, given)


async def relaunch(run_id: str, terminal: Terminal, given: Mapping[str, Any]) -> int:
    """Start a run again; returns the exit code."""
    async with connected(terminal) as daemon:
        earlier = await find_run(daemon, run_id, project_or_any())
        request = repeated_run(earlier.id, wishes_of(given), terminal)
        return await _launch(daemon, request, terminal, given)


async def _launch(
    daemon: Daemon, request: StartRunRequest, terminal: Terminal, given: Mapping[str, Any]
) -> int:
    follower = Follower(daemon, terminal, cancel_on_interrupt=given["cancel_on_interrupt"])
    run = await follower.start(request)
    terminal.say("Process submitted", ProcessID=run.id)
    if given["follow"]:
        style = Style(label=given["label"], raw=given["raw"])
        view: View = JsonView(terminal, style) if given["as_json"] else TerminalView(terminal, run, style)
        watched = WatchRunRequest(run_id=run.id, output=True, follow=True)
        run = await follower.follow(watched, view, run)
        if given["problems"]:
            await tell_problems(daemon, terminal, run, as_json=given["as_json"])
        return code_of_run(run)
    return _let_go(run, terminal, as_json=given["as_json"])


def _let_go(run: Run, terminal: Terminal, *, as_json: bool) -> int:
    if as_json:
        terminal.print(json_text(plain(run)))
    elif not terminal.read_by_people:
        terminal.print(run.id)
    for notice in run.notices:
        tell_notice(terminal, notice)
    if run.state not in ENDS:
        if terminal.read_by_people and not as_json:
            terminal.say(f"Follow it: pollinator logs -f {run.id}")
        return int(Exit.OK)
    # It can have ended before its start was answered: refused by the executor, or simply quick.
    tell_end(terminal, run)
    code = code_of_run(run)
    return code if code != Exit.NOT_ENDED else int(Exit.OK)
