"""Who in a colony may take a run, whether any of them can, and what the user should know of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pollinator.executors.colonies.funcspec import MOST, OURS, TYPE
from pollinator.executors.colonies.messages import Executor
from pollinator.model.document import suggestion
from pollinator.model.project import COLONIES
from pollinator.v1.run_pb2 import Notice, PendingReason, Severity
from pollinator.v1.spec_pb2 import Kubernetes, RunSpec, Slurm
from pollinator.wire.errors import InvalidInput, Violation

APPROVED, REJECTED, GONE = 1, 2, 3
"""States of an executor; any other waits to be approved."""
ON_HOST, IN_IMAGES = "host", "containers"
"""Types of the software that our executors register: where they run commands."""
AWAY_S = 300.0
"""Public executors ask for work at least every 100 seconds."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Executors that may take a run."""

    names: tuple[str, ...]
    """Those that it names; empty is any of the type."""
    type: str
    ours: bool
    """All of them are ours."""
    location: str = ""
    """Where they have to be, as they write it; empty is anywhere."""
    notices: tuple[Notice, ...] = ()


def choose(spec: RunSpec, colony: str, executors: Sequence[Executor], now: datetime) -> Choice:
    """Who may take a run.

    Args:
        spec: of the run.
        colony: name of the colony.
        executors: all that it has.
        now: the time.

    Raises:
        InvalidInput: nobody can; everything that is in the way is named.
    """
    names = _names(spec)
    known = {each.name: each for each in executors if each.state != REJECTED}
    named = [known[name] for name in names if name in known]
    kind = _type(spec, named)
    typed = [each for each in (named if names else known.values()) if each.type == kind]
    fitting = [each for each in typed if _is_at(each, spec.location)]
    wrong = _wrong_names(names, kind, colony, known, typed) or _wrong_place(spec.location, typed, fitting)
    ours = bool(typed) and all(OURS in each.software for each in fitting or typed)
    on_host = ours and all(each.software[OURS] == ON_HOST for each in fitting or typed)
    # Where nobody is meant who is known, the names are what has to be put right.
    wrong += _wrong_wishes(spec, ours=ours or not typed, on_host=on_host)
    if wrong:
        raise InvalidInput(
            f"this run cannot run in the colony {colony}",
            reason="cannot_run_here",
            hint="change the settings, or name another executor",
            violations=wrong,
        )
    notices = [*_not_known(names, colony, known), *_away(fitting, now)]
    if not ours:
        notices += _left_out(spec)
    if on_host and spec.image:
        notices.append(_without_image(spec))
    chosen = tuple(each.name for each in fitting) if names else ()
    location = fitting[0].location if spec.location else ""
    return Choice(chosen, kind, ours, location, tuple(notices))


def pending(choice: Choice, executors: Sequence[Executor], ahead: int, now: datetime) -> PendingReason:
    """Why a process waits.

    Args:
        choice: who may take it.
        executors: all of the colony.
        ahead: how many processes wait for the same executors, and came before.
        now: the time.
    """
    fitting = [
        each
        for each in executors
        if each.type == choice.type
        and (not choice.names or each.name in choice.names)
        and _is_at(each, choice.location)
    ]
    shown = ", ".join(choice.names) or f"executors of type {choice.type}"
    shown += f" at {choice.location}" if choice.location else ""
    if all(_absence(each, now) for each in fitting):
        why = (
            "; ".join(f"{each.name} {_absence(each, now)}" for each in fitting)
            or f"{shown}: not in the colony any more"
        )
        action = "wait until one is back, or name another executor"
        return PendingReason(code="executor_away", text=why, action=action)
    if ahead:
        text = f"{ahead} process{'es are' if ahead > 1 else ' is'} ahead of it for {shown}"
        return PendingReason(code="queue", text=text, action="wait, or cancel what is ahead")
    text = f"the next of {shown} that asks for work is given it"
    return PendingReason(code="queue", text=text, action="wait: they may be busy")


def _names(spec: RunSpec) -> list[str]:
    return [name for name in spec.executor_names if name != COLONIES]


def _type(spec: RunSpec, named: Sequence[Executor]) -> str:
    """What the project says; else what those are that it names, whatever that is."""
    if spec.executor_type not in ("", COLONIES):
        return spec.executor_type
    return named[0].type if named else TYPE


def _wrong_names(
    names: Sequence[str], kind: str, colony: str, known: dict[str, Executor], fitting: Sequence[Executor]
) -> list[Violation]:
    if fitting:
        return []
    if not known:
        return [Violation("conditions.executorNames", f"the colony {colony} has no executors at all")]
    if not names:
        types = {each.type for each in known.values()}
        text = f"the colony {colony} has none of type {kind!r}{suggestion(kind, types)}"
        return [Violation("conditions.executorType", text)]
    if not any(name in known for name in names):
        return [
            Violation(
                "conditions.executorNames",
                f"the colony {colony} has no executor {name!r}{suggestion(name, known)}",
            )
            for name in names
        ]
    types = {known[name].type for name in names if name in known}
    text = f"is {kind}, but {', '.join(names)} is of {', '.join(sorted(types))}"
    return [Violation("conditions.executorType", text)]


def _is_at(executor: Executor, location: str) -> bool:
    # As servers compare.
    return not location or executor.location.lower() == location.lower()


def _wrong_place(location: str, typed: Sequence[Executor], fitting: Sequence[Executor]) -> list[Violation]:
    if fitting or not location:
        return []
    text = f"no executor that may take the run is at {location!r}"
    if places := {each.location for each in typed if each.location}:
        text += suggestion(location, places)
    else:
        text += ": none of them says where it is, as it can since version 1.9.6 of the server"
    return [Violation("conditions.location", text)]


def _wrong_wishes(spec: RunSpec, *, ours: bool, on_host: bool) -> list[Violation]:
    wrong = [
        Violation(where, f"a colony gives nobody more than {MOST}, and the run would wait for ever")
        for where, count in (
            ("conditions.nodes", spec.nodes),
            ("conditions.processesPerNode", spec.processes_per_node),
        )
        if count > MOST
    ]
    if on_host and spec.image and spec.require_container:
        text = "cannot be used: no executor that may take the run has a container engine, and one is required"
        wrong.append(Violation("environment.docker", text))
    if ours:
        return wrong
    if not spec.image:
        wrong.append(Violation("environment.docker", "is empty, and public executors run only images"))
    if not spec.walltime_ms:
        wrong.append(Violation("conditions.walltime", "is not set, and public executors refuse that"))
    return wrong


def _not_known(names: Sequence[str], colony: str, known: dict[str, Executor]) -> list[Notice]:
    return [
        _notice("executor_unknown", f"the colony {colony} has no executor {name!r}{suggestion(name, known)}")
        for name in names
        if name not in known
    ]


def _away(fitting: Sequence[Executor], now: datetime) -> list[Notice]:
    if not all(_absence(each, now) for each in fitting):
        return []
    return [
        _notice("executor_away", f"{each.name} {_absence(each, now)}; the run waits for it")
        for each in fitting
    ]


def _absence(executor: Executor, now: datetime) -> str:
    """Why it takes nothing at the moment, as far as that is known; or nothing."""
    if executor.state == GONE:
        return "has left the colony"
    if executor.state != APPROVED:
        return "waits to be approved"
    if executor.last_heard is None:
        return "has never been heard of"
    silent_s = (now - executor.last_heard).total_seconds()
    return f"has not been heard of for {_span(silent_s)}" if silent_s > AWAY_S else ""


def _span(seconds: float) -> str:
    for unit, length in (("days", 86400), ("hours", 3600)):
        if seconds >= 2 * length:
            return f"{int(seconds // length)} {unit}"
    return f"{int(seconds // 60)} minutes"


def _left_out(spec: RunSpec) -> list[Notice]:
    """What public executors do not know."""
    wishes = {
        "environment.rebuildImage": spec.rebuild_image,
        "environment.engine": spec.engine,
        "environment.signal": spec.signal,
        "conditions.requeue": spec.requeue,
        "slurm": spec.slurm != Slurm(),
        "kubernetes": spec.kubernetes != Kubernetes(),
    }
    notices = [
        _notice("not_known_there", f"{name} is not known to the executors of this colony, and left out")
        for name, wished in wishes.items()
        if wished
    ]
    if not spec.memory_bytes:
        text = "conditions.mem is not set; the executors of this colony want one, and are told 1000Mi"
        notices.append(_notice("usual_memory", text, Severity.SEVERITY_INFO))
    return notices


def _without_image(spec: RunSpec) -> Notice:
    text = (
        f"no executor that may take the run has a container engine: the command runs there on the host, "
        f"not in {spec.image}"
    )
    if spec.init_command:
        text += ", and init-cmd, which is for the image, is left out"
    return _notice("no_container_engine", text)


def _notice(code: str, text: str, severity: Severity.ValueType = Severity.SEVERITY_WARNING) -> Notice:
    return Notice(severity=severity, code=code, text=text)
