"""The queue: who gets which process, and what happens to those that take too long."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from support.colonies.answers import answers
from support.colonies.decoding import message, text, whole
from support.colonies.moments import NEVER
from support.colonies.processes import EXECUTED_LONG, SECOND, WAITED_LONG, fail
from support.colonies.refusing import Refusal
from support.colonies.specs import millicores, size
from support.colonies.world import Executor, Process, Standing, State, World, now_ns

PAUSE_STATUS = "pausestatusreplymsg"
_LIMITLESS = (1 << 63) - 1
_MOST_NODES = 127
"""The largest number of a byte with a sign; whoever asks for more waits for ever."""
_MOST_WAITING = 1000
_OF_COLONY = message(colonyname=text)


@answers(
    "assignprocessmsg",
    message(colonyname=text, timeout=whole, availablecpu=text, availablemem=text),
    "Failed to assign process",
)
async def _assign(world: World, caller: str, asked: Any) -> Any:
    colony, timeout_s = asked["colonyname"], asked["timeout"]
    world.require_member(caller, colony)
    if timeout_s == 0:
        raise Refusal(400, "Invalid timeout value, timeout cannot be zero")
    executor = world.executor_by_id(caller)
    if executor is None:
        raise Refusal(500, "Failed to assign process, executor not found")
    cpu = millicores(asked["availablecpu"]) if asked["availablecpu"] else _LIMITLESS
    memory = size(asked["availablemem"]) if asked["availablemem"] else _LIMITLESS
    deadline = asyncio.get_running_loop().time() + timeout_s
    while True:
        executor = world.executor_by_id(caller)
        if executor is None:
            raise Refusal(500, f"Executor with Id <{caller}> could not be found")
        executor.heard_ns = now_ns()
        if colony in world.paused:
            await _resumed(world, timeout_s, deadline)
            continue
        process = _first(world, colony, executor, cpu, memory)
        if process is not None:
            return _give(world, process, executor)
        if timeout_s < 0 or not await _news(world, executor, deadline):
            raise Refusal(404, "No process available for assignment")


async def _news(world: World, executor: Executor, deadline: float) -> bool:
    """Wait for news of a process of the executor's type; False when the time is over."""
    listener = world.signals.listen(executor.kind, State.WAITING, location=executor.location)
    try:
        async with asyncio.timeout_at(deadline):
            await listener.told.get()
    except TimeoutError:
        return False
    finally:
        world.signals.leave(listener)
    return True


async def _resumed(world: World, timeout_s: int, deadline: float) -> None:
    if timeout_s < 0:
        raise Refusal(503, "No processes available: colony assignments are paused")
    resumed = asyncio.Event()
    world.resumed.append(resumed.set)
    try:
        async with asyncio.timeout_at(deadline):
            await resumed.wait()
    except TimeoutError as error:
        raise Refusal(408, "Assignment timeout: colony assignments are paused") from error


def _first(world: World, colony: str, executor: Executor, cpu: int, memory: int) -> Process | None:
    fitting = [
        each
        for each in world.processes.values()
        if each.state == State.WAITING
        and not each.assigned
        and each.colony == colony
        and each.cpu <= cpu
        and each.memory <= memory
        and _fits(world, each, executor)
    ]
    return min(fitting, key=lambda each: each.priority_time, default=None)


def _fits(world: World, process: Process, executor: Executor) -> bool:
    wanted = process.spec["conditions"]
    exclusive = world.settings.exclusive
    if process.names and executor.name not in process.names and (exclusive or process.names != ["*"]):
        return False
    location = wanted.get("locationname", "")
    return (
        wanted["executortype"] == executor.kind
        and (not exclusive or process.storage <= 0)
        and max(wanted["nodes"], wanted["processes"], wanted["processespernode"]) <= _MOST_NODES
        and (not location or location.lower() == executor.location.lower())
    )


def _give(world: World, process: Process, executor: Executor) -> Any:
    before = world.moment(process.exec_deadline_ns)
    process.started_ns = now_ns()
    process.executor_id, process.assigned = executor.identity, True
    if process.spec["maxexectime"] > 0:
        process.exec_deadline_ns = process.started_ns + process.spec["maxexectime"] * SECOND
    shown = world.shown(process)
    world.mark(process, State.RUNNING)
    world.assignments.append((process.id, executor.name, process.started_ns))
    # As it was found, with what was set since.
    shown |= {"state": int(State.RUNNING)}
    if world.settings.exclusive:
        shown |= {"execdeadline": before, "starttime": world.moment(process.started_ns, exact=True)}
    world.signals.tell(shown)
    return shown


@answers("pauseassignmentsmsg", _OF_COLONY, "Failed to pause assignments")
def _pause(world: World, caller: str, asked: Any) -> Any:
    world.require_owner(caller, asked["colonyname"])
    world.paused.add(asked["colonyname"])
    return {}


@answers("resumeassignmentsmsg", _OF_COLONY, "Failed to resume assignments")
def _resume(world: World, caller: str, asked: Any) -> Any:
    world.require_owner(caller, asked["colonyname"])
    world.paused.discard(asked["colonyname"])
    waiting, world.resumed = world.resumed, []
    for each in waiting:
        each()
    return {}


@answers("getpausestatusmsg", _OF_COLONY, "Failed to get pause status")
def _pause_status(world: World, caller: str, asked: Any) -> Any:
    colony = asked["colonyname"]
    world.require_member(caller, colony, approved=False)
    return {"msgtype": PAUSE_STATUS, "colonyname": colony, "ispaused": colony in world.paused}


async def check_deadlines(world: World) -> None:
    """What the server does every second."""
    now = now_ns() // SECOND
    for each in list(world.processes.values()):
        # It may have ended meanwhile.
        with suppress(Refusal):
            if _runs_long(each, now):
                await _end_or_repeat(world, each)
    waiting = [each for each in world.processes.values() if each.state == State.WAITING]
    waiting.sort(key=lambda each: each.priority_time)
    # A defect of the server: it looks at no more of them.
    for each in waiting[:_MOST_WAITING]:
        with suppress(Refusal):
            if _waits_long(each, now):
                await fail(world, each, [WAITED_LONG])


def _runs_long(process: Process, now: int) -> bool:
    limited = process.state == State.RUNNING and process.spec["maxexectime"] != -1
    return limited and now > _second(process.exec_deadline_ns)


def _waits_long(process: Process, now: int) -> bool:
    limited = process.state == State.WAITING and process.spec["maxwaittime"] not in (-1, 0)
    return limited and now > _second(process.wait_deadline_ns)


def _second(time_ns: int) -> int:
    return -1 if time_ns == NEVER else time_ns // SECOND


async def _end_or_repeat(world: World, process: Process) -> None:
    most = process.spec["maxretries"]
    if -1 < most <= process.retries:
        await fail(world, process, [EXECUTED_LONG])
        return
    # Those who wait are told how it was before, but for this.
    told = world.shown(process) | {"isassigned": False, "state": int(State.WAITING)}
    process.executor_id, process.assigned = "", False
    process.retries += 1
    process.ended_ns = now_ns()
    told["endtime"] = world.moment(process.ended_ns)
    if process.spec["maxwaittime"] > 0:
        process.wait_deadline_ns = process.ended_ns + process.spec["maxwaittime"] * SECOND
    world.mark(process, State.WAITING)
    world.signals.tell(told)


def remove_stale(world: World) -> None:
    """What the server does now and then: executors that were heard of, but not for long, are gone."""
    now = now_ns()
    for each in world.executors.values():
        heard = each.standing != Standing.UNREGISTERED and each.heard_ns != NEVER
        if heard and now - each.heard_ns > world.settings.stale_s * SECOND:
            world.unregister(each)
