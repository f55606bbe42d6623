"""What processes print, and their attributes."""

from __future__ import annotations

from typing import Any

from support.colonies.answers import answers
from support.colonies.decoding import message, text, truth, whole
from support.colonies.refusing import Refusal, storable
from support.colonies.world import Log, State, World, attribute_of, shown_attribute

MOST = 500
_MOST_FOUND = 100
_MOST_DAYS = 30
_LOGS = message(colonyname=text, processid=text, executorname=text, count=whole, since=whole, latest=truth)
_ATTRIBUTE = message(
    targetid=text, targetcolonyname=text, state=whole, attributetype=whole, key=text, value=text
)


@answers("addlogmsg", message(processid=text, message=text), "Failed to add log")
def _add_log(world: World, caller: str, asked: Any) -> Any:
    process = world.process(asked["processid"], 500, "Failed to add log, process is nil")
    world.require_member(caller, process.colony)
    if process.state != State.RUNNING:
        raise Refusal(403, "Failed to set output, process is not running")
    executor = world.executor_by_id(caller)
    if process.executor_id != caller or executor is None:
        denied = "not allowed to add log, only the assigned Executor may att logs"
        raise Refusal(403, f"Failed to add log, {denied}")
    storable(asked["message"], twice=True)
    world.add_log(process.id, process.colony, executor.name, asked["message"])
    return {}


@answers(
    "addexecutorlogmsg",
    message(colonyname=text, executorname=text, message=text),
    "Failed to add executor log",
)
def _add_executor_log(world: World, caller: str, asked: Any) -> Any:
    world.require_member(caller, asked["colonyname"])
    executor = world.executor_by_id(caller)
    if executor is None:
        raise Refusal(403, "Failed to add executor log, executor not found")
    if executor.name != asked["executorname"]:
        raise Refusal(403, "Failed to add executor log, executor name mismatch")
    storable(asked["message"], twice=True)
    world.add_log("", asked["colonyname"], executor.name, asked["message"])
    return {}


@answers("getlogsmsg", _LOGS, "Failed to get logs")
def _get_logs(world: World, caller: str, asked: Any) -> Any:
    name = asked["executorname"]
    if name:
        if (asked["colonyname"], name) not in world.executors:
            raise Refusal(500, "Failed to get logs, executor does not exist")
        world.require_member(caller, asked["colonyname"])
        # A defect of the server: of any colony.
        found = [each for each in world.logs if each.executor == name]
    else:
        process = world.process(asked["processid"], 500, "Failed to get logs, process does not exist")
        world.require_member(caller, process.colony)
        found = [each for each in world.logs if each.process_id == process.id]
    count = asked["count"]
    if count > MOST:
        raise Refusal(403, f"Count exceeds max log count ({MOST})")
    if count < 0:
        raise Refusal(400, "pq: LIMIT must not be negative", twice=True)
    found.sort(key=lambda each: each.time_ns)
    if asked["latest"]:
        found = found[max(0, len(found) - count) :]
    elif asked["since"] > 0:
        found = [each for each in found if each.time_ns > asked["since"]]
    return [_shown(each) for each in found[:count]] or None


@answers(
    "searchlogsmsg",
    message(colonyname=text, text=text, days=whole, count=whole),
    "Failed to search logs",
    "Failed to get logs",
)
def _search_logs(world: World, caller: str, asked: Any) -> Any:
    world.require_member(caller, asked["colonyname"])
    if asked["count"] > _MOST_FOUND:
        raise Refusal(400, f"Count exceeds max log count ({_MOST_FOUND})")
    if asked["days"] > _MOST_DAYS:
        raise Refusal(400, f"Count exceeds max day count ({_MOST_DAYS})")
    found = [each for each in world.logs if each.colony == asked["colonyname"]]
    return [_shown(each) for each in found if asked["text"] in each.message][: asked["count"]] or None


def _shown(log: Log) -> dict[str, Any]:
    return {
        "processid": log.process_id,
        "colonyname": log.colony,
        "executorname": log.executor,
        "message": log.message,
        "timestamp": log.time_ns,
    }


@answers("addattributemsg", message(attribute=_ATTRIBUTE), "Failed to add attribute")
def _add_attribute(world: World, caller: str, asked: Any) -> Any:
    said = asked["attribute"]
    process = world.process(said["targetid"], 404, "Failed to add attribute, process not found")
    world.require_member(caller, process.colony)
    if process.state != State.RUNNING:
        raise Refusal(403, "Failed to add attribute, process is not running")
    if process.executor_id != caller:
        only = f"only executor with id <{process.executor_id}> is allowed to set attributes"
        raise Refusal(403, f"Failed to add attribute, {only}")
    storable(said["key"], said["value"])
    colony, kind = said["targetcolonyname"], said["attributetype"]
    made = attribute_of(process.id, colony, kind, said["key"], said["value"], said["state"])
    if made.id in world.attributes[process.id]:
        # Nothing sets one again.
        raise Refusal(400, 'pq: duplicate key value violates unique constraint "prod_attributes_pkey"')
    world.attributes[process.id][made.id] = made
    return shown_attribute(made)


@answers("getattributemsg", message(attributeid=text), "Failed to get attribute")
def _get_attribute(world: World, caller: str, asked: Any) -> Any:
    for process_id, attributes in world.attributes.items():
        if asked["attributeid"] in attributes:
            process = world.process(process_id, 404, "Failed to get attribute, process not found")
            world.require_member(caller, process.colony)
            return shown_attribute(attributes[asked["attributeid"]])
    raise Refusal(400, "Attribute does not exists")
