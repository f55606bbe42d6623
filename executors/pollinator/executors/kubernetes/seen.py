"""Jobs and pods as the cluster tells of them: of each only what matters for a run, read with patience."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pollinator.executors.kubernetes.data import COLLECT, Manifest
from pollinator.executors.kubernetes.manifest import RANKS
from pollinator.executors.kubernetes.naming import ATTEMPT, INDEX, RUN
from pollinator.wire.documents import Entry, as_entries, as_entry

_NOTHING: Entry = {}
MOST_WORDS = 2000
"""No text that the cluster tells is longer."""


@dataclass(frozen=True, slots=True)
class JobSeen:
    """A Job."""

    name: str
    uid: str
    run: str
    attempt: int
    suspended: bool = False
    deleting: bool = False
    complete: bool = False
    failed: str = ""
    """Why, in one word, once it has."""
    words: str = ""
    """The same in the words of the cluster."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a container ended."""

    exit_code: int = 0
    signal: int = 0
    reason: str = ""
    words: str = ""


@dataclass(frozen=True, slots=True)
class PodState:
    """A pod."""

    name: str
    uid: str
    run: str
    attempt: int
    index: int
    phase: str = ""
    node: str = ""
    address: str = ""
    unscheduled: str = ""
    """Why it has no node, in the words of the scheduler."""
    gated: bool = False
    waiting: str = ""
    """Why a container of it has not begun, in one word."""
    waiting_words: str = ""
    image: str = ""
    """Of the container that waits."""
    begun: bool = False
    """The ranks' container has."""
    ended: Ended | None = None
    """How that ended."""
    before: str = ""
    """Name of a container that failed before it could begin."""
    before_ended: Ended | None = None
    reason: str = ""
    words: str = ""
    """Of the pod itself, such as Evicted."""
    disrupted: str = ""
    """Why the cluster ended it, in one word."""
    disrupted_words: str = ""
    deleting: bool = False
    grace_s: int = 30
    gone: bool = False

    @property
    def emptied(self) -> bool:
        """None of its containers runs any more."""
        return self.gone or self.phase in ("Failed", "Succeeded")

    @property
    def over(self) -> bool:
        """Nothing of its ranks runs any more, as the cluster says."""
        return self.emptied or self.ended is not None


def job_seen(found: Manifest) -> JobSeen:
    """Read a Job."""
    about, spec, status = (_part(found, name) for name in ("metadata", "spec", "status"))
    failed, words, complete = "", "", False
    for condition in _true(status):
        match condition.get("type"):
            case "Failed" | "FailureTarget":
                failed, words = str(condition.get("reason") or "Failed"), _words(condition.get("message"))
            case "Complete":
                complete = True
            case _:
                pass
    return JobSeen(
        name=str(about.get("name", "")),
        uid=str(about.get("uid", "")),
        run=_run(about),
        attempt=_attempt(about),
        suspended=bool(spec.get("suspend")),
        deleting="deletionTimestamp" in about,
        complete=complete,
        failed=failed,
        words=words,
    )


def pod_seen(found: Manifest) -> PodState:
    """Read a pod."""
    about, spec, status = (_part(found, name) for name in ("metadata", "spec", "status"))
    ranks = _first(_parts(status, "containerStatuses"), "name", RANKS)
    state = _part(ranks, "state")
    waiting = _waiting(status)
    scheduled = _first(_parts(status, "conditions"), "type", "PodScheduled")
    disrupted = _first(_true(status), "type", "DisruptionTarget")
    before = _before(status)
    return PodState(
        name=str(about.get("name", "")),
        uid=str(about.get("uid", "")),
        run=_run(about),
        attempt=_attempt(about),
        index=_number(_part(about, "annotations").get(INDEX)),
        phase=str(status.get("phase", "")),
        node=str(spec.get("nodeName") or ""),
        address=str(status.get("podIP") or ""),
        unscheduled=_words(scheduled.get("message")) if scheduled.get("status") == "False" else "",
        gated=scheduled.get("reason") == "SchedulingGated",
        waiting=str(_part(_part(waiting, "state"), "waiting").get("reason") or ""),
        waiting_words=_words(_part(_part(waiting, "state"), "waiting").get("message")),
        image=str(waiting.get("image") or ""),
        begun="running" in state or "terminated" in state,
        ended=_ended(_part(state, "terminated")) if "terminated" in state else None,
        before=str(before.get("name", "")),
        before_ended=_ended(_part(_part(before, "state"), "terminated")) if before else None,
        reason=str(status.get("reason") or ""),
        words=_words(status.get("message")),
        disrupted=str(disrupted.get("reason") or ""),
        disrupted_words=_words(disrupted.get("message")),
        deleting="deletionTimestamp" in about,
        grace_s=_number(about.get("deletionGracePeriodSeconds") or 30),
    )


def _first(parts: Iterable[Entry], name: str, value: str) -> Entry:
    """The one of which that is so; empty where there is none."""
    return next((each for each in parts if each.get(name) == value), _NOTHING)


def _waiting(status: Entry) -> Entry:
    """The first container that has not begun and says why."""
    for name in ("initContainerStatuses", "containerStatuses"):
        for each in _parts(status, name):
            reason = _part(_part(each, "state"), "waiting").get("reason")
            if reason and reason not in ("PodInitializing", "ContainerCreating"):
                return each
    return _NOTHING


def _before(status: Entry) -> Entry:
    for each in _parts(status, "initContainerStatuses"):
        # One that runs beside the ranks from before is started again by the kubelet.
        if each.get("name") != COLLECT and _number(_part(_part(each, "state"), "terminated").get("exitCode")):
            return each
    return _NOTHING


def _ended(found: Entry) -> Ended:
    return Ended(
        exit_code=_number(found.get("exitCode")),
        signal=_number(found.get("signal")),
        reason=str(found.get("reason") or ""),
        words=_words(found.get("message")),
    )


def _run(about: Entry) -> str:
    """Which run it belongs to: in full in the annotation."""
    return str(_part(about, "annotations").get(RUN) or _part(about, "labels").get(RUN) or "")


def _attempt(about: Entry) -> int:
    return _number(_part(about, "labels").get(ATTEMPT)) or 1


def _true(status: Entry) -> Iterator[Entry]:
    return (each for each in _parts(status, "conditions") if each.get("status") == "True")


def _part(found: Mapping[str, Any], name: str) -> Entry:
    return as_entry(found.get(name))


def _parts(found: Mapping[str, Any], name: str) -> list[Entry]:
    return as_entries(found.get(name))


def _number(found: object) -> int:
    try:
        return int(str(found or 0))
    except ValueError:
        return 0


def _words(found: object) -> str:
    return str(found or "").strip()[:MOST_WORDS]
