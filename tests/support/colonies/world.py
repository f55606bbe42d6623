"""What the server knows, and who may do what."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any
from zoneinfo import ZoneInfo

from support.colonies.moments import NEVER, written
from support.colonies.refusing import Refusal, storable
from support.colonies.signals import Signals


class State(IntEnum):
    """Of a process."""

    WAITING = 0
    RUNNING = 1
    SUCCESS = 2
    FAILED = 3
    CANCELLED = 4


class Standing(IntEnum):
    """Of an executor."""

    PENDING = 0
    APPROVED = 1
    REJECTED = 2
    UNREGISTERED = 3


@dataclass
class Settings:
    """How the server is set up; as the public compose file does it, but for the name of the zone."""

    server_id: str
    stale_s: float = 600.0
    """An executor that was not heard of for so long is gone."""
    sweep_s: float = 60.0
    """How often those are looked for."""
    exclusive: bool = True
    """Processes are given away by one server of a cluster only."""
    reregister: bool = True
    """An executor may be added again under its name."""
    zone: str = "Europe/Stockholm"
    late_s: float = 0.0
    """So much later what the database is told second is there: why a process failed, its environment."""
    log_time_ns: int = 0
    """Time of every row of a log that comes in; 0 is the true one."""
    certificate: str = ""
    """File with the certificate of a proxy before it that speaks TLS: it does not itself."""
    key: str = ""
    """File with the key of the certificate."""


@dataclass
class Executor:
    """An executor of a colony."""

    colony: str
    name: str
    identity: str
    kind: str
    location: str
    capabilities: Any
    allocations: Any
    requires_functions: bool
    commissioned_ns: int
    heard_ns: int = NEVER
    standing: Standing = Standing.PENDING


@dataclass
class Attribute:
    """A value of a process."""

    id: str
    process_id: str
    colony: str
    kind: int
    key: str
    value: str
    state: int = 0


@dataclass
class Process:
    """A process, as the database has it."""

    id: str
    spec: Any
    names: list[str]
    """Of the executors that it is for, as they were sent."""
    cpu: int
    memory: int
    storage: int
    initiator_id: str
    initiator_name: str
    submitted_ns: int
    wait_deadline_ns: int
    priority_time: int
    state: State = State.WAITING
    executor_id: str = ""
    assigned: bool = False
    started_ns: int = NEVER
    ended_ns: int = NEVER
    exec_deadline_ns: int = NEVER
    retries: int = 0
    output: list[Any] = field(default_factory=list[Any])
    errors: list[str] | None = field(default_factory=list[str])

    @property
    def colony(self) -> str:
        return str(self.spec["conditions"]["colonyname"])


@dataclass
class Log:
    """A row of a log."""

    process_id: str
    colony: str
    executor: str
    message: str
    time_ns: int


@dataclass
class World:
    """Everything that is stored. Belongs to one event loop."""

    settings: Settings
    signals: Signals = field(default_factory=Signals)
    colonies: dict[str, str] = field(default_factory=dict[str, str])
    """Names, with the identities of the owners."""
    users: dict[tuple[str, str], Any] = field(default_factory=dict[tuple[str, str], Any])
    executors: dict[tuple[str, str], Executor] = field(default_factory=dict[tuple[str, str], Executor])
    functions: dict[str, Any] = field(default_factory=dict[str, Any])
    processes: dict[str, Process] = field(default_factory=dict[str, Process])
    attributes: dict[str, dict[str, Attribute]] = field(
        default_factory=lambda: defaultdict[str, dict[str, Attribute]](dict)
    )
    """Of each process, by their ids."""
    logs: list[Log] = field(default_factory=list[Log])
    files: dict[str, Any] = field(default_factory=dict[str, Any])
    labels: dict[tuple[str, str], dict[str, list[Any]]] = field(
        default_factory=lambda: defaultdict[tuple[str, str], dict[str, list[Any]]](dict)
    )
    """Revisions of each file of each label of each colony, oldest first."""
    snapshots: dict[str, Any] = field(default_factory=dict[str, Any])
    sequence: int = 0
    paused: set[str] = field(default_factory=set[str])
    resumed: list[Callable[[], None]] = field(default_factory=list[Callable[[], None]])
    assignments: list[tuple[str, str, int]] = field(default_factory=list[tuple[str, str, int]])
    """Which process was given to whom, and when."""

    # Who may do what

    def require_server_owner(self, caller: str) -> None:
        if caller != self.settings.server_id:
            raise Refusal(403, "Access denied, not server owner")

    def require_owner(self, caller: str, colony: str) -> None:
        if not colony:
            raise Refusal(403, "Empty Colony name")
        if colony not in self.colonies:
            raise Refusal(403, f"Colony with name <{colony}> does not exists")
        if caller != self.colonies[colony]:
            raise Refusal(403, "Access denied, not colony owner")

    def require_member(self, caller: str, colony: str, *, approved: bool = True) -> None:
        storable(colony, status=403)
        executor = self.executor_by_id(caller)
        if colony not in self.colonies:
            raise Refusal(403, f"Colony with name <{colony}> does not exists")
        is_member = (
            executor is not None
            and executor.colony == colony
            and (not approved or executor.standing == Standing.APPROVED)
        )
        if not is_member and self.user_by_id(colony, caller) is None:
            raise Refusal(403, f"Access denied, not a member of Colony with name <{colony}>")

    def executor_by_id(self, identity: str) -> Executor | None:
        return next((each for each in self.executors.values() if each.identity == identity), None)

    def user_by_id(self, colony: str, identity: str) -> Any:
        found = (each for (of, _), each in self.users.items() if of == colony and each["userid"] == identity)
        return next(found, None)

    # Processes

    def process(self, process_id: str, status: int, text: str) -> Process:
        storable(process_id)
        found = self.processes.get(process_id)
        if found is None:
            raise Refusal(status, text)
        return found

    def mark(self, process: Process, state: State, *, attributes: int | None = None) -> None:
        """Set a state, and that of the attributes."""
        process.state = state
        for each in self.attributes[process.id].values():
            each.state = state if attributes is None else attributes

    def give_back(self, executor: Executor) -> None:
        """What runs at an executor waits again. A defect of the server: nobody who waits is told."""
        for each in self.processes.values():
            if each.executor_id == executor.identity and each.state == State.RUNNING:
                each.state, each.executor_id, each.assigned = State.WAITING, "", False
                each.started_ns = each.ended_ns = NEVER

    def unregister(self, executor: Executor) -> None:
        """Take an executor out; its name stays."""
        executor.standing = Standing.UNREGISTERED
        self.give_back(executor)
        self.forget_functions(executor)

    def forget_functions(self, executor: Executor) -> None:
        of = (executor.colony, executor.name)
        for name, each in list(self.functions.items()):
            if (each["colonyname"], each["executorname"]) == of:
                del self.functions[name]

    async def meanwhile(self) -> None:
        """Between two writes others may read."""
        await asyncio.sleep(self.settings.late_s)

    def add_log(self, process_id: str, colony: str, executor: str, message: str) -> None:
        """Add a row, as of now."""
        time_ns = self.settings.log_time_ns or now_ns()
        self.logs.append(Log(process_id, colony, executor, message, time_ns))

    # As they are sent

    def moment(self, time_ns: int, *, exact: bool = False) -> str:
        return written(time_ns, ZoneInfo(self.settings.zone), exact=exact)

    def shown(self, process: Process) -> dict[str, Any]:
        """A process."""
        attributes = [shown_attribute(each) for each in self.attributes[process.id].values()]
        env = {each["key"]: each["value"] for each in attributes if each["attributetype"] == ENV}
        return {
            "processid": process.id,
            "initiatorid": process.initiator_id,
            "initiatorname": process.initiator_name,
            "assignedexecutorid": process.executor_id,
            "isassigned": process.assigned,
            "state": int(process.state),
            "prioritytime": process.priority_time,
            "submissiontime": self.moment(process.submitted_ns),
            "starttime": self.moment(process.started_ns),
            "endtime": self.moment(process.ended_ns),
            "waitdeadline": self.moment(process.wait_deadline_ns),
            "execdeadline": self.moment(process.exec_deadline_ns),
            "retries": process.retries,
            "attributes": attributes,
            "spec": {**process.spec, "env": env},
            "waitforparents": False,
            "parents": [],
            "children": [],
            "processgraphid": "",
            "in": [],
            "out": list(process.output),
            "errors": process.errors,
        }

    def shown_executor(self, executor: Executor) -> dict[str, Any]:
        """An executor."""
        shown = {
            "executorid": executor.identity,
            "executortype": executor.kind,
            "executorname": executor.name,
            "colonyname": executor.colony,
            "state": int(executor.standing),
            "requirefuncreg": executor.requires_functions,
            "commissiontime": self.moment(executor.commissioned_ns),
            "lastheardfromtime": self.moment(executor.heard_ns),
            "capabilities": executor.capabilities,
            "allocations": executor.allocations,
        }
        return shown | ({"locationname": executor.location} if executor.location else {})


ENV = 3
"""Type of the attributes that are variables of the environment."""


def shown_attribute(attribute: Attribute) -> dict[str, Any]:
    return {
        "attributeid": attribute.id,
        "targetid": attribute.process_id,
        "targetcolonyname": attribute.colony,
        "targetprocessgraphid": "",
        "state": attribute.state,
        "attributetype": attribute.kind,
        "key": attribute.key,
        "value": attribute.value,
    }


def attribute_of(process_id: str, colony: str, kind: int, key: str, value: str, state: int = 0) -> Attribute:
    identity = hashlib.sha3_256(f"{process_id}{key}{kind}".encode()).hexdigest()
    return Attribute(identity, process_id, colony, kind, key, value, state)


def new_id() -> str:
    return secrets.token_hex(32)


def now_ns() -> int:
    return time.time_ns()
