"""Hands runs over to a colony exactly once each.

Before a function spec is submitted, the wish is written down. Whoever finds it without the id of a process,
after a crash or after an answer that was lost, looks for the process by its label before it submits another.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from pollinator.executors.colonies.client import Client
from pollinator.executors.colonies.funcspec import process_label
from pollinator.executors.colonies.handover import Handover
from pollinator.executors.colonies.messages import Process, State
from pollinator.executors.colonies.refusals import Unanswered
from pollinator.v1.run_pb2 import PendingReason
from pollinator.wire.errors import Denied, PollinatorError
from pollinator.wire.faults import crash_point

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 15.0
FIND_S = 0.5
REFUSED_S = 120.0
"""So long a refusal may pass: a server whose database is away takes nobody for a member."""

_log = logging.getLogger(__name__)

WriteSpec = Callable[[Handover], Mapping[str, Any]]


async def hand_over(run: Handover, client: Client, write_spec: WriteSpec) -> None:
    """Have a run in the colony, or ended; returns once that is so.

    Args:
        run: the run; it may be there already.
        client: the colony.
        write_spec: its function spec.
    """
    pause_s, refused_at = FIRST_PAUSE_S, 0.0
    while not run.process_id and run.ended is None:
        try:
            if run.intent.since or not run.withdraw():
                await _once(run, client, write_spec)
            continue
        except PollinatorError as error:
            refused_at = refused_at or time.monotonic()
            passes = error.retryable or isinstance(error, Denied)
            if not run.intent.since and (not passes or _is_over(error, refused_at)):
                run.refused(error)
                continue
            _log.warning("run %s: %s", run.job.run_id, error.message)
            run.pending = PendingReason(
                code="colony_down",
                text=f"the colony does not have it yet: {error.message}",
                action="wait: it is tried again",
            )
        except OSError as error:
            # A disk that is full has room again some time.
            _log.warning("run %s: %s", run.job.run_id, error)
        await _pause(run, pause_s)
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


def _is_over(error: PollinatorError, since: float) -> bool:
    """It was refused, and that for so long that it is meant."""
    return isinstance(error, Denied) and time.monotonic() > since + REFUSED_S


async def _pause(run: Handover, pause_s: float) -> None:
    """Wait; not for long where it is wished that a run ends which the colony does not have."""
    if run.cancelled and not run.intent.since:
        return
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(pause_s):
            await (asyncio.Event() if run.cancelled else run.cancel_wished).wait()


async def _once(run: Handover, client: Client, write_spec: WriteSpec) -> None:
    process_id = await _find(run, client) if run.intent.since else ""
    if not process_id:
        run.intent.retract()
        if run.withdraw():
            return
        process_id = await _submit(run, client, write_spec)
    run.is_process(process_id)
    crash_point("after_process")


async def _find(run: Handover, client: Client) -> str:
    """The process that an earlier try has led to, or empty."""
    while True:
        found = [
            process
            for state in State
            for process in await client.processes(state, process_label(run.job.run_id))
        ]
        if found:
            # There is never more than one; were there two, the others must not run as well.
            first, *others = sorted(found, key=_age)
            for process in others:
                await client.cancel(process.id)
            return first.id
        if not run.intent.may_appear:
            return ""
        await asyncio.sleep(FIND_S)


async def _submit(run: Handover, client: Client, write_spec: WriteSpec) -> str:
    spec = write_spec(run)
    run.intent.note()
    crash_point("before_process")
    try:
        process = await client.submit(spec)
    except Unanswered:
        run.intent.doubt()
        raise
    except PollinatorError:
        run.intent.retract()
        raise
    crash_point("after_submitted")
    return process.id


def _age(process: Process) -> float:
    return process.submitted.timestamp() if process.submitted is not None else 0.0
