"""Processes: how they are submitted, looked at, and closed."""

from __future__ import annotations

from typing import Any

from support.colonies.answers import answers
from support.colonies.decoding import anything, listed, maybe, message, text, whole
from support.colonies.moments import NEVER
from support.colonies.refusing import Refusal, storable
from support.colonies.specs import SPEC, check, stored
from support.colonies.world import ENV, Process, State, World, attribute_of, new_id, now_ns

SECOND = 10**9
DAY = 24 * 3600 * SECOND
MOST = 100
_ANY = -1
EXECUTED_LONG = "Maximum execution time limit exceeded"
WAITED_LONG = "Maximum waiting time limit exceeded"
_ONE = message(processid=text)
_LIST = message(colonyname=text, count=whole, state=whole, executortype=text, label=text, initiator=text)


@answers(
    "submitfuncspecmsg",
    message(spec=maybe(SPEC)),
    "Failed to submit process",
    "Failed to submit process spec",
)
async def _submit(world: World, caller: str, asked: Any) -> Any:
    spec = asked["spec"]
    if spec is None:
        raise Refusal(400, "Failed to submit process spec, msg.FunctionSpec is nil")
    colony = spec["conditions"]["colonyname"]
    world.require_member(caller, colony)
    check(spec)
    kept, cpu, memory, storage = stored(spec)
    executor = world.executor_by_id(caller)
    initiator = executor.name if executor is not None else world.user_by_id(colony, caller)["name"]
    now = now_ns()
    waits_s = spec["maxwaittime"]
    process = Process(
        new_id(),
        kept,
        spec["conditions"]["executornames"] or [],
        cpu,
        memory,
        storage,
        caller,
        initiator,
        now,
        now + waits_s * SECOND if waits_s > 0 else NEVER,
        now - spec["priority"] * DAY,
    )
    env: dict[str, str] = spec["env"] or {}
    # The process is stored before they are, so it is there even when they are refused.
    world.processes[process.id] = process
    await world.meanwhile()
    storable(*env, *env.values())
    made = [attribute_of(process.id, colony, ENV, key, value) for key, value in env.items()]
    world.attributes[process.id].update((each.id, each) for each in made)
    shown = world.shown(process)
    world.signals.tell(shown)
    return shown


@answers("getprocessmsg", _ONE, "Failed to get process")
def _get(world: World, caller: str, asked: Any) -> Any:
    process = world.process(asked["processid"], 404, "Failed to get process, process not found")
    world.require_member(caller, process.colony)
    return world.shown(process)


@answers("getprocessesmsg", _LIST, "Failed to get processes")
def _get_many(world: World, caller: str, asked: Any) -> Any:
    colony, state, name = asked["colonyname"], asked["state"], asked["initiator"]
    world.require_member(caller, colony)
    if asked["count"] > MOST:
        raise Refusal(400, f"Count is larger than MaxCount limit <{MOST}>")
    if name and (colony, name) not in world.users:
        raise Refusal(400, f"User <{name}> does not exist")
    if state not in list(State):
        raise Refusal(400, "Failed to get processes, invalid msg.State")
    if asked["count"] < 0:
        raise Refusal(400, "pq: LIMIT must not be negative")
    found = [each for each in world.processes.values() if each.colony == colony and each.state == state]
    # Only the first of these that is set counts.
    if asked["executortype"]:
        found = [each for each in found if each.spec["conditions"]["executortype"] == asked["executortype"]]
    elif name:
        found = [each for each in found if each.initiator_name == name]
    elif asked["label"]:
        found = [each for each in found if each.spec["label"] == asked["label"]]
    match state:
        case State.WAITING:
            found.sort(key=lambda each: each.priority_time)
        case State.RUNNING:
            found.sort(key=lambda each: each.started_ns)
        case _:
            found.sort(key=lambda each: each.ended_ns, reverse=True)
    return [world.shown(each) for each in found[: asked["count"]]] or None


@answers("removeprocessmsg", _ONE, "Failed to remove process")
def _remove(world: World, caller: str, asked: Any) -> Any:
    process = world.process(asked["processid"], 500, "Failed to remove process, process is nil")
    world.require_member(caller, process.colony)
    if process.state == State.RUNNING:
        raise Refusal(400, "Failed to remove process, cannot remove a running process")
    del world.processes[process.id]
    world.attributes.pop(process.id, None)
    return {}


@answers("removeallprocessesmsg", message(colonyname=text, state=whole), "Failed to remove all processes")
def _remove_all(world: World, caller: str, asked: Any) -> Any:
    colony, state = asked["colonyname"], asked["state"]
    world.require_owner(caller, colony)
    if state == State.RUNNING:
        raise Refusal(400, "Not possible to remove running processes")
    if state not in (_ANY, *State):
        raise Refusal(400, "Invalid state when deleting all processes")
    for each in list(world.processes.values()):
        if each.colony == colony and state in (_ANY, each.state):
            del world.processes[each.id]
            world.attributes.pop(each.id, None)
    return {}


@answers("setoutputmsg", message(processid=text, out=listed(anything)), "Failed to set output")
def _set_output(world: World, caller: str, asked: Any) -> Any:
    process = world.process(asked["processid"], 500, "Failed to set output, process is nil")
    world.require_member(caller, process.colony)
    if process.executor_id != caller:
        failed = "Failed to close process as successful, not allowed to close process as successful"
        raise Refusal(403, failed)
    if process.state != State.RUNNING:
        raise Refusal(403, "Failed to set output, process is not running")
    process.output = asked["out"] or process.output
    return {}


def _to_close(world: World, caller: str, process_id: str, how: str) -> Process:
    process = world.process(process_id, 500, f"Failed to close process as {how}, process is nil")
    world.require_member(caller, process.colony)
    if not process.executor_id:
        raise Refusal(403, f"Failed to close process as {how}, process is not assigned")
    if process.executor_id != caller:
        raise Refusal(403, f"Failed to close process as {how}, not allowed to close process as {how}")
    return process


@answers(
    "closesuccessfulmsg",
    message(processid=text, out=listed(anything)),
    "Failed to close successful",
    "Failed to close process as successful",
)
def _close_successful(world: World, caller: str, asked: Any) -> Any:
    process = _to_close(world, caller, asked["processid"], "successful")
    # A defect of the server: those who wait are told how it was before. And the output is set in any case.
    before = world.shown(process)
    process.output = asked["out"] or process.output
    if process.state == State.FAILED:
        raise Refusal(400, "Tried to set failed process as successful")
    if process.state == State.CANCELLED:
        raise Refusal(400, "Tried to set cancelled process as successful")
    process.ended_ns = now_ns()
    world.mark(process, State.SUCCESS)
    told = _counted(world, process, before)
    world.signals.tell({**told, "state": int(State.SUCCESS)})
    return {}


def _counted(world: World, process: Process, before: Any) -> Any:
    """Counts a call of a function that its executor has told of; only then is the news new."""
    executor = world.executor_by_id(process.executor_id)
    name = executor.name if executor is not None else ""
    sought = (process.colony, name, process.spec["funcname"])
    for each in world.functions.values():
        if (each["colonyname"], each["executorname"], each["funcname"]) == sought:
            each["counter"] += 1
            return world.shown(process)
    return before


@answers(
    "closefailedmsg",
    message(processid=text, errors=listed(text)),
    "Failed to close failed",
    "Failed to close process as failed",
)
async def _close_failed(world: World, caller: str, asked: Any) -> Any:
    process = _to_close(world, caller, asked["processid"], "failed")
    await fail(world, process, asked["errors"])
    return {}


async def fail(world: World, process: Process, errors: list[str] | None) -> None:
    """Close a process as failed; raises Refusal when it has ended."""
    if process.state in (State.SUCCESS, State.FAILED, State.CANCELLED):
        was = {State.SUCCESS: "successful", State.FAILED: "failed", State.CANCELLED: "cancelled"}
        raise Refusal(400, f"Tried to set {was[process.state]} process as failed")
    process.ended_ns = now_ns()
    world.mark(process, State.FAILED)
    # It has failed before it is known why, and also when the reasons are refused; then nobody is told.
    await world.meanwhile()
    storable(*(errors or []))
    process.errors = errors
    world.signals.tell(world.shown(process))


@answers("cancelprocessmsg", _ONE, "Failed to cancel process")
def _cancel(world: World, caller: str, asked: Any) -> Any:
    process = world.process(asked["processid"], 500, "Failed to cancel process, process is nil")
    world.require_member(caller, process.colony)
    if process.state in (State.SUCCESS, State.FAILED, State.CANCELLED):
        was = {State.SUCCESS: "successful", State.FAILED: "failed", State.CANCELLED: "already cancelled"}
        raise Refusal(400, f"Tried to cancel {was[process.state]} process")
    process.ended_ns = now_ns()
    world.mark(process, State.CANCELLED)
    world.signals.tell(world.shown(process))
    return {}


@answers(
    "getprocesshistmsg",
    message(colonyname=text, executorid=text, seconds=whole, state=whole),
    "Failed to get process hist",
    "Failed to get process history",
)
def _get_history(world: World, caller: str, asked: Any) -> Any:
    try:
        world.require_member(caller, asked["colonyname"])
    except Refusal:
        # A defect of the server: nothing at all is answered.
        return None
    return [
        world.shown(each)
        for each in world.processes.values()
        if each.colony == asked["colonyname"]
        and each.state == asked["state"]
        and asked["executorid"] in ("", each.executor_id)
    ] or None
