"""Colonies, users, executors, and the functions that those say they have."""

from __future__ import annotations

from typing import Any

from support.colonies.answers import answers
from support.colonies.decoding import listed, mapped, maybe, message, number, text, truth, whole
from support.colonies.refusing import Refusal, storable
from support.colonies.world import Executor, Standing, World, new_id, now_ns

_COLONY = message(colonyid=text, name=text)
_USER = message(colonyname=text, userid=text, name=text, email=text, phone=text)
_GPU = message(name=text, mem=text, count=whole, nodecount=whole)
_HARDWARE = message(
    model=text,
    nodes=whole,
    cpu=text,
    cores=whole,
    mem=text,
    storage=text,
    gpu=_GPU,
    platform=text,
    architecture=text,
    network=listed(text),
)
_CAPABILITIES = message(
    hardware=listed(_HARDWARE), software=listed(message(name=text, type=text, version=text))
)
_PROJECT = message(
    allocatedcpu=whole,
    usedcpu=whole,
    allocatedgpu=whole,
    usedgpu=whole,
    allocatedstorage=whole,
    usedstorage=whole,
)
_ALLOCATIONS = message(projects=mapped(_PROJECT))
_EXECUTOR = message(
    executorid=text,
    executortype=text,
    executorname=text,
    colonyname=text,
    requirefuncreg=truth,
    locationname=text,
    capabilities=_CAPABILITIES,
    allocations=_ALLOCATIONS,
)
_FUNCTION = message(
    functionid=text,
    executorname=text,
    executortype=text,
    colonyname=text,
    funcname=text,
    description=text,
    counter=whole,
    minwaittime=number,
    maxwaittime=number,
    minexectime=number,
    maxexectime=number,
    avgwaittime=number,
    avgexectime=number,
)
_OF_COLONY = message(colonyname=text)
_NAMED = message(colonyname=text, executorname=text)
_ID_LENGTH = 64


@answers("addcolonymsg", message(colony=maybe(_COLONY)), "Failed to add colony")
def _add_colony(world: World, caller: str, asked: Any) -> Any:
    world.require_server_owner(caller)
    colony = asked["colony"]
    if colony is None:
        raise Refusal(400, "Failed to add colony, colony is <nil>")
    if len(colony["colonyid"]) != _ID_LENGTH:
        raise Refusal(400, "Failed to add colony, invalid colony Id length")
    if colony["name"] in world.colonies:
        raise Refusal(400, f"A Colony with name <{colony['name']}> already exists")
    world.colonies[colony["name"]] = colony["colonyid"]
    return colony


@answers("getcoloniesmsg", message(), "Failed to get colonies")
def _get_colonies(world: World, caller: str, asked: Any) -> Any:
    world.require_server_owner(caller)
    return [{"colonyid": owner, "name": name} for name, owner in world.colonies.items()] or None


@answers("getcolonymsg", _OF_COLONY, "Failed to get colony")
def _get_colony(world: World, caller: str, asked: Any) -> Any:
    world.require_member(caller, asked["colonyname"])
    return {"colonyid": world.colonies[asked["colonyname"]], "name": asked["colonyname"]}


def _require_colony(world: World, colony: str) -> None:
    if colony not in world.colonies:
        raise Refusal(400, f"Colony with name <{colony}> does not exists")


@answers("addusermsg", message(user=maybe(_USER)), "Failed to add user")
def _add_user(world: World, caller: str, asked: Any) -> Any:
    user = asked["user"]
    if user is None:
        raise Refusal(400, "Failed to add user, executor is nil")
    colony, name = user["colonyname"], user["name"]
    _require_colony(world, colony)
    world.require_owner(caller, colony)
    if (colony, name) in world.users:
        raise Refusal(400, f"A user with name <{name}> already exists in Colony with name <{colony}>")
    # A defect of the server: two may have one key, for it looks for that in a colony named like the key.
    storable(*user.values())
    world.users[colony, name] = user
    return user


@answers("getusersmsg", _OF_COLONY, "Failed to get users")
def _get_users(world: World, caller: str, asked: Any) -> Any:
    _require_colony(world, asked["colonyname"])
    world.require_member(caller, asked["colonyname"], approved=False)
    return [each for (colony, _), each in world.users.items() if colony == asked["colonyname"]] or None


@answers("removeusermsg", message(colonyname=text, name=text), "Failed to remove user")
def _remove_user(world: World, caller: str, asked: Any) -> Any:
    colony, name = asked["colonyname"], asked["name"]
    _require_colony(world, colony)
    world.require_owner(caller, colony)
    if (colony, name) not in world.users:
        raise Refusal(400, f"User with name <{name}> not found")
    del world.users[colony, name]
    return {}


@answers("addexecutormsg", message(executor=maybe(_EXECUTOR)), "Failed to add executor")
def _add_executor(world: World, caller: str, asked: Any) -> Any:
    said = asked["executor"]
    if said is None:
        raise Refusal(400, "Failed to add executor, executor is nil")
    colony, name = said["colonyname"], said["executorname"]
    world.require_owner(caller, colony)
    there = world.executors.get((colony, name))
    if there is not None:
        if not world.settings.reregister:
            raise Refusal(400, f"Executor with name <{name}> in Colony <{colony}> already exists")
        world.unregister(there)
    storable(name, said["executorid"], said["executortype"])
    executor = Executor(
        colony,
        name,
        said["executorid"],
        said["executortype"],
        said["locationname"],
        said["capabilities"],
        said["allocations"],
        # What was said of an executor that is added again does not count.
        said["requirefuncreg"] if there is None else there.requires_functions,
        now_ns(),
    )
    world.executors[colony, name] = executor
    return world.shown_executor(executor)


def _named(world: World, asked: Any, failed: str) -> Executor:
    found = world.executors.get((asked["colonyname"], asked["executorname"]))
    if found is None:
        raise Refusal(500, f"{failed}, executor is nil")
    return found


@answers("approveexecutormsg", _NAMED, "Failed to approve executor")
def _approve_executor(world: World, caller: str, asked: Any) -> Any:
    executor = _named(world, asked, "Failed to approve executor")
    world.require_owner(caller, executor.colony)
    _let(world, executor, Standing.APPROVED)
    return {}


@answers("rejectexecutormsg", _NAMED, "Failed to reject executor")
def _reject_executor(world: World, caller: str, asked: Any) -> Any:
    executor = _named(world, asked, "Failed to reject executor")
    world.require_owner(caller, executor.colony)
    _let(world, executor, Standing.REJECTED)
    return {}


def _let(world: World, executor: Executor, standing: Standing) -> None:
    # By identity: also others of the same key.
    for each in world.executors.values():
        if each.identity == executor.identity:
            each.standing = standing


@answers("removeexecutormsg", _NAMED, "Failed to remove executor")
def _remove_executor(world: World, caller: str, asked: Any) -> Any:
    executor = _named(world, asked, "Failed to remove executor")
    world.require_owner(caller, executor.colony)
    world.unregister(executor)
    return {}


@answers("getexecutormsg", _NAMED, "Failed to get executor")
def _get_executor(world: World, caller: str, asked: Any) -> Any:
    executor = _named(world, asked, "Failed to get executor")
    world.require_member(caller, executor.colony)
    return world.shown_executor(executor)


@answers("getexecutorsmsg", _OF_COLONY, "Failed to get executors")
def _get_executors(world: World, caller: str, asked: Any) -> Any:
    world.require_member(caller, asked["colonyname"], approved=False)
    of = asked["colonyname"]
    return [world.shown_executor(each) for each in world.executors.values() if each.colony == of] or None


@answers("getexecutorbyidmsg", message(colonyname=text, executorid=text), "Failed to get executor by ID")
def _get_executor_by_id(world: World, caller: str, asked: Any) -> Any:
    executor = world.executor_by_id(asked["executorid"])
    if executor is None:
        raise Refusal(404, "Failed to get executor by ID, executor is nil")
    world.require_member(caller, executor.colony)
    return world.shown_executor(executor)


@answers(
    "updateexecutormsg",
    message(colonyname=text, executorname=text, capabilities=_CAPABILITIES),
    "Failed to update executor",
)
def _update_executor(world: World, caller: str, asked: Any) -> Any:
    world.require_member(caller, asked["colonyname"], approved=False)
    executor = world.executors.get((asked["colonyname"], asked["executorname"]))
    if executor is None:
        raise Refusal(400, f"Executor with name <{asked['executorname']}> does not exist")
    if executor.identity != caller:
        raise Refusal(400, "Only an executor can update its own capabilities")
    executor.capabilities = asked["capabilities"]
    return {}


@answers("addfunctionmsg", message(fun=maybe(_FUNCTION)), "Failed to add function")
def _add_function(world: World, caller: str, asked: Any) -> Any:
    function = asked["fun"]
    if function is None:
        raise Refusal(400, "Failed to add function, msg.Function is nil")
    world.require_member(caller, function["colonyname"])
    name = function["executorname"]
    executor = world.executors.get((function["colonyname"], name))
    if executor is None:
        raise Refusal(400, f"Failed to add function, Executor with name <{name}> does not exist")
    if executor.identity != caller:
        raise Refusal(403, "Not allowed to add a function to another executor")
    function["functionid"] = function["functionid"] or new_id()
    if not function["description"]:
        del function["description"]
    world.functions[function["functionid"]] = function
    return function


@answers("getfunctionsmsg", _NAMED, "Failed to get function")
def _get_functions(world: World, caller: str, asked: Any) -> Any:
    world.require_member(caller, asked["colonyname"])
    name = asked["executorname"]
    found = [each for each in world.functions.values() if each["colonyname"] == asked["colonyname"]]
    return [each for each in found if name in ("", each["executorname"])] or None
