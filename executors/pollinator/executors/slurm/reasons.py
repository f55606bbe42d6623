"""Why a job waits, in plain words: what is missing, what it waits for, and what the user can do.

Most of Slurm's names are made of parts: whose limit it is, how it is counted, and of what. Those are read by
their parts; the others are in a table. A name that is in neither is shown as it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pollinator.executors.slurm.partitions import allowance, duration, size
from pollinator.executors.slurm.probe import Probe
from pollinator.executors.slurm.reason_table import OTHERS, Words
from pollinator.executors.slurm.seen import JobSeen
from pollinator.v1.run_pb2 import PendingReason
from pollinator.v1.spec_pb2 import RunSpec

SUBMITTED = "submitted"
"""The code as long as Slurm has given no reason."""


@dataclass(frozen=True, slots=True)
class _Resource:
    noun: str
    minutes: str
    key: str = ""
    """Where a run says how much it asks for."""


_RESOURCES = {
    "BB": _Resource("burst buffer space", "minutes of burst buffer space"),
    "Billing": _Resource("billing units", "billing units times minutes"),
    "Cpu": _Resource("cores", "core minutes", "conditions.cpu"),
    "Energy": _Resource("energy", "minutes of energy"),
    "GRES": _Resource("GPUs or other devices", "minutes of GPUs or other devices", "conditions.gpu.count"),
    "License": _Resource("licences", "licence minutes"),
    "Mem": _Resource("memory", "memory minutes", "conditions.mem"),
    "Node": _Resource("nodes", "node minutes", "conditions.nodes"),
    "Unknown": _Resource(
        "a resource that Slurm does not name", "minutes of a resource that Slurm does not name"
    ),
    "Wall": _Resource("walltime", "walltime", "conditions.walltime"),
}
_SPELLINGS = {"CPU": "Cpu", "Memory": "Mem", "MEM": "Mem"}

_OF = "BB|Billing|Cpu|CPU|Energy|GRES|License|Memory|Mem|Node|Unknown|Wall"
_GROUP = re.compile(rf"(Assoc|QOS)Grp({_OF})(Run)?(Minutes)?(?:Limit)?")
_MOST = re.compile(rf"(Assoc|QOS)?Max({_OF})(Minutes)?Per(Job|Node|User|Account)(?:Limit)?")
_LEAST = re.compile(rf"(QOS)Min({_OF})(?:NotSatisfied)?")


def explain(seen: JobSeen, spec: RunSpec, probe: Probe | None = None, partition: str = "") -> PendingReason:
    """Why a job waits.

    Args:
        seen: the job as Slurm told of it last.
        spec: what the run asks for.
        probe: what the cluster offers, if that is known.
        partition: where the job is, if that is known.
    """
    words = _words(seen.reason, spec) or _shown(seen)
    texts = [words.text, _numbers(seen.reason, spec, probe, partition)]
    if seen.detail and seen.detail not in words.text:
        texts.append(f"Slurm adds: {seen.detail}")
    pending = PendingReason(
        code=code(seen.reason), text="; ".join(text for text in texts if text), action=words.action
    )
    if seen.estimate is not None:
        pending.eta.FromDatetime(seen.estimate)
    return pending


def code(name: str) -> str:
    """A name of Slurm as the code of a reason: ``assoc_grp_cpu_limit`` for ``AssocGrpCpuLimit``."""
    if name == "None":
        # Slurm has not looked at it yet: nobody should take that for a run that waits for nothing.
        return SUBMITTED
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower() or "slurm"


def _words(name: str, spec: RunSpec) -> Words | None:
    if name in OTHERS:
        return OTHERS[name].of(account=_account(spec), qos=_qos(spec))
    if found := _GROUP.fullmatch(name):
        whose, of, run, minutes = found.groups()
        return _group(_owner(whose, spec), _resource(of), running=bool(run), minutes=bool(minutes))
    if found := _MOST.fullmatch(name):
        whose, of, minutes, per = found.groups()
        return _most(_owner(whose or "QOS", spec), _resource(of), per, minutes=bool(minutes))
    if found := _LEAST.fullmatch(name):
        resource = _resource(found[2])
        text = f"it asks for less than {_qos(spec)} wants for a job: too little of {resource.noun}"
        return Words(text, f"ask for more{_in(resource)}, or for another QoS (slurm.qos)")
    return None


def _group(owner: str, resource: _Resource, *, running: bool, minutes: bool) -> Words:
    if minutes and running:
        return Words(
            f"the running jobs of {owner} may together still use as many {resource.minutes} as it is allowed",
            "wait until some of them end, or set a shorter conditions.walltime",
        )
    if minutes:
        return Words(
            f"the budget of {owner} is used up: it has no {resource.minutes} left for this run",
            f"ask whoever manages {owner} for more, charge another account (slurm.account), or ask for less",
        )
    return Words(
        f"the running jobs of {owner} together have all of its {resource.noun}",
        f"wait until some of them end, or ask for less{_in(resource)}",
    )


def _most(owner: str, resource: _Resource, per: str, *, minutes: bool) -> Words:
    noun = resource.minutes if minutes else resource.noun
    if per in ("Job", "Node"):
        each = "one job" if per == "Job" else "one node of a job"
        less = f"ask for less{_in(resource)}" + (" or a shorter conditions.walltime" if minutes else "")
        return Words(
            f"it asks for more than {owner} allows for {each}: too much of {noun}",
            f"it will not start as it is: cancel it and {less}, or use another QoS (slurm.qos) or account",
        )
    whom = "one user" if per == "User" else "all users of one account"
    waits = "of your other runs" if per == "User" else "jobs of your account"
    return Words(
        f"{whom} may not have more of {noun} at a time in {owner}",
        f"wait until some {waits} end, or ask for less{_in(resource)}",
    )


def _shown(seen: JobSeen) -> Words:
    """What is not known here, as it is."""
    if not seen.reason:
        told = seen.detail or "it gives no reason"
        return Words(f"Slurm says: {told}", "ask the administrators if it lasts")
    return Words(
        f"Slurm says {seen.reason}, which is not known here",
        "look it up in Slurm's list of job reason codes, or ask the administrators",
    )


# Numbers


def _numbers(name: str, spec: RunSpec, probe: Probe | None, partition: str) -> str:
    """What the run asks for of the thing that is short, and what there is where that is known."""
    found = [each for each in probe.partitions if each.name == partition] if probe else []
    if name in _OF_PARTITION and found:
        return f"it asks for {asked(spec)}; {partition} allows {allowance(found[0])}"
    if name in _OF_PARTITION or name in _OF_ALL:
        return f"it asks for {asked(spec)}"
    match = _GROUP.fullmatch(name) or _MOST.fullmatch(name) or _LEAST.fullmatch(name)
    amount = _amount(_SPELLINGS.get(match[2], match[2]), spec) if match else ""
    return f"it asks for {amount}" if amount else ""


_OF_PARTITION = frozenset(
    {"Resources", "PartitionNodeLimit", "PartitionTimeLimit", "PartitionConfig", "BadConstraints"}
)
_OF_ALL = frozenset({"AssociationResourceLimit", "QOSResourceLimit", "Constraints", "AccountingPolicy"})


def asked(spec: RunSpec) -> str:
    """What a run asks for, on one line."""
    each = [_cores(spec.cpu_millis), size(spec.memory_bytes) if spec.memory_bytes else "", _gpus(spec)]
    nodes = "1 node" if spec.nodes == 1 else f"{spec.nodes} nodes"
    wishes = ", ".join(wish for wish in each if wish)
    time = f" for {duration(-(-spec.walltime_ms // 1000))}" if spec.walltime_ms else ""
    return nodes + (f" with {wishes}{' each' * (spec.nodes > 1)}" if wishes else "") + time


def _cores(millis: int) -> str:
    count = -(-millis // 1000)
    return "" if not count else "1 core" if count == 1 else f"{count} cores"


def _gpus(spec: RunSpec) -> str:
    return f"{spec.gpu.count} x {spec.gpu.name or 'any GPU'}" if spec.gpu.count else ""


def _amount(resource: str, spec: RunSpec) -> str:
    """How much of one thing the whole run asks for; empty where it does not say."""
    match resource:
        case "Cpu":
            return _cores(spec.cpu_millis * spec.nodes)
        case "Mem":
            return size(spec.memory_bytes * spec.nodes) if spec.memory_bytes else ""
        case "Node":
            return "1 node" if spec.nodes == 1 else f"{spec.nodes} nodes"
        case "GRES":
            return (
                f"{_gpus(spec)}{f' on each of {spec.nodes} nodes' * (spec.nodes > 1)}"
                if spec.gpu.count
                else ""
            )
        case "Wall":
            return duration(-(-spec.walltime_ms // 1000)) if spec.walltime_ms else ""
        case _:
            return ""


def _resource(of: str) -> _Resource:
    return _RESOURCES[_SPELLINGS.get(of, of)]


def _in(resource: _Resource) -> str:
    return f" ({resource.key})" if resource.key else ""


def _owner(whose: str, spec: RunSpec) -> str:
    return _account(spec) if whose == "Assoc" else _qos(spec)


def _account(spec: RunSpec) -> str:
    return f"account {spec.slurm.account}" if spec.slurm.account else "your account"


def _qos(spec: RunSpec) -> str:
    return f"QoS {spec.slurm.qos}" if spec.slurm.qos else "the QoS of this run"
