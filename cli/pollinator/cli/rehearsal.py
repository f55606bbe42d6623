"""What a run would be, without running it: ``run --dry-run`` and ``run --what-if``."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from pollinator.cli.connect import Daemon, connected
from pollinator.cli.exits import Exit
from pollinator.cli.plain import json_text, plain
from pollinator.cli.requests import Wishes, project_source
from pollinator.cli.table import print_table
from pollinator.cli.terminal import Terminal
from pollinator.cli.view import tell_notice
from pollinator.cli.words import duration_text, time_text
from pollinator.v1.executor_pb2 import PreflightRequest, PreflightResponse
from pollinator.v1.run_pb2 import ProjectSource
from pollinator.wire.errors import InvalidInput, Violation

COLONIES = "colonies"
"""The executor that hands runs over to a colony."""
SHORT = "conditions."
"""Where a name without a dot belongs."""


async def rehearse(root: Path, wishes: Wishes, terminal: Terminal, given: Mapping[str, Any]) -> int:
    """Check a project's spec where it would run; returns the exit code.

    Raises:
        PollinatorError: it cannot run there, or nobody can be asked.
    """
    asked = partial(project_source, root, terminal=terminal)
    changed = _changed(wishes, given["what_if"])
    async with connected(terminal) as daemon:
        if given["dry_run"]:
            answer = await _ask(daemon, asked(changed), script=True)
            _show_script(answer, terminal, as_json=given["as_json"])
        else:
            now = await _ask(daemon, asked(wishes), estimate=True)
            try:
                then = await _ask(daemon, asked(changed), estimate=True)
            except InvalidInput as error:
                raise _under_its_name(error) from error
            _show_times(now, then, given["what_if"], terminal, as_json=given["as_json"])
    return int(Exit.OK)


async def show_function_spec(root: Path, wishes: Wishes, terminal: Terminal) -> int:
    """Print what a colony would be given; returns the exit code.

    Raises:
        PollinatorError: there is no colony, it cannot run there, or nobody can be asked.
    """
    source = project_source(root, replace(wishes, executor=wishes.executor or COLONIES), terminal)
    async with connected(terminal) as daemon:
        answer = await _ask(daemon, source, script=True)
    for notice in answer.notices:
        tell_notice(terminal, notice)
    terminal.print(answer.script.rstrip("\n"))
    return int(Exit.OK)


async def _ask(
    daemon: Daemon, source: ProjectSource, *, script: bool = False, estimate: bool = False
) -> PreflightResponse:
    request = PreflightRequest(project=source, script=script, estimate=estimate)
    return await daemon.ask(daemon.executors.Preflight, request)


def _under_its_name(error: InvalidInput) -> InvalidInput:
    """What is wrong in it is in --what-if, for all that was given by --set was right before."""
    wrong = [
        Violation(each.where.replace("--set ", "--what-if ", 1), each.message) for each in error.violations
    ]
    return InvalidInput(error.message, reason=error.reason, hint=error.hint, violations=wrong)


def _changed(wishes: Wishes, settings: Sequence[str]) -> Wishes:
    full = [each if "." in each.partition("=")[0] else SHORT + each for each in settings]
    return replace(wishes, settings=[*wishes.settings, *full])


def _show_script(answer: PreflightResponse, terminal: Terminal, *, as_json: bool) -> None:
    if as_json:
        terminal.print(json_text(plain(answer)))
        return
    for notice in answer.notices:
        tell_notice(terminal, notice)
    terminal.say(f"Nothing is run. This is what {answer.executor} would run:")
    terminal.print(answer.script.rstrip("\n"))


def _show_times(
    now: PreflightResponse,
    then: PreflightResponse,
    settings: Sequence[str],
    terminal: Terminal,
    *,
    as_json: bool,
) -> None:
    if as_json:
        terminal.print(json_text({"as_it_is": plain(now), "what_if": plain(then)}))
        return
    for notice in then.notices:
        tell_notice(terminal, notice)
    rows = [
        ["as it is", now.executor, *_start(now)],
        [f"with {' '.join(settings)}", then.executor, *_start(then)],
    ]
    print_table(terminal, ["RUN", "EXECUTOR", "STARTS", "IN"], rows)


def _start(answer: PreflightResponse) -> tuple[str, str]:
    """When, and how long that is from now."""
    if not answer.HasField("eta"):
        return "not known", "-"
    left = answer.eta.ToNanoseconds() / 1e9 - time.time()
    return time_text(answer.eta), duration_text(max(0.0, left))
