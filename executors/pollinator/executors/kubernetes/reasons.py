"""Why a run waits, in plain words: what is missing, what would fit, and what the user can do."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pollinator.executors.kubernetes.handover import Handover
from pollinator.executors.kubernetes.offer import Machine, cores, size
from pollinator.executors.kubernetes.reason_table import CONFIG_ERRORS, IMAGE_ERRORS, NEVER, REASONS
from pollinator.executors.kubernetes.seen import JobSeen, PodState
from pollinator.v1.run_pb2 import PendingReason
from pollinator.v1.spec_pb2 import RunSpec

NEVER_S = 5.0
"""So long what a registry refuses for good is waited for all the same."""
HIDDEN = (
    "it may never start: how large nodes are is not known here, for this executor may not list them "
    "(nodes.read in docs/kubernetes.md)"
)

_DIGITS = re.compile(r"\d+")


def reason(code: str, words: str = "", action: str = "") -> PendingReason:
    """One of the table, with what the cluster adds."""
    known = REASONS[code]
    text = f"{known.text}: {words}" if words else known.text
    return PendingReason(code=code, text=text, action=action or known.action)


def explain(
    run: Handover,
    job: JobSeen | None,
    pods: Sequence[PodState],
    machines: Sequence[Machine] | None,
    queue: str = "",
) -> PendingReason:
    """Why an attempt that was handed over has not begun.

    Args:
        run: the run.
        job: its Job, where there is one.
        pods: its pods.
        machines: what there is for pods, as far as is known; None where nodes may not be listed.
        queue: in which its Job was put.
    """
    if job is not None and job.suspended:
        return _suspended(run, queue)
    there = [each for each in pods if not each.gone]
    for pod in there:
        if (found := _of_pod(run, pod, machines)) is not None:
            return found
    if len(there) < run.job.spec.nodes:
        return _not_made(run, there)
    if any(not each.node for each in there):
        return reason("scheduling")
    if any(each.began for each in run.journals):
        missing = [str(node) for node, journal in enumerate(run.journals) if not journal.began]
        return reason("peers", f"missing are {', '.join(missing)}" if missing else "")
    return _creating(run, there)


def _suspended(run: Handover, queue: str) -> PendingReason:
    said = next((words for name, words in reversed(run.events) if name == "Workload"), "")
    return (
        reason("kueue", f"queue {queue}: {said}" if said else f"queue {queue}")
        if queue
        else reason("suspended")
    )


def _not_made(run: Handover, there: Sequence[PodState]) -> PendingReason:
    for name, words in reversed(run.events):
        if name == "FailedCreate":
            return reason("quota" if "exceeded quota" in words else "not_admitted", words)
    return reason("submitted" if not there else "scheduling")


def _of_pod(run: Handover, pod: PodState, machines: Sequence[Machine] | None) -> PendingReason | None:
    if pod.gated:
        return reason("gated")
    if pod.unscheduled:
        return _unscheduled(pod.unscheduled, run.job.spec, machines)
    if pod.waiting in IMAGE_ERRORS:
        return reason("image_error", f"{pod.image}: {run.image_words or pod.waiting_words or pod.waiting}")
    if pod.waiting in CONFIG_ERRORS and not _is_being_made(run, pod.waiting_words):
        return reason("container_config", f"{pod.waiting}: {pod.waiting_words}")
    return None


def _unscheduled(words: str, spec: RunSpec, machines: Sequence[Machine] | None) -> PendingReason:
    """What the scheduler says of all nodes together, by the first that the user can do something about."""
    low = words.lower()
    asked, most, key = "", "", ""
    if "insufficient cpu" in low:
        code, asked, key = "insufficient_cpu", cores(spec.cpu_millis), "conditions.cpu"
        most = _largest(spec.cpu_millis, [each.cpu_millis for each in machines or ()], cores)
    elif "insufficient memory" in low:
        code, asked, key = "insufficient_memory", size(spec.memory_bytes), "conditions.mem"
        most = _largest(spec.memory_bytes, [each.memory_bytes for each in machines or ()], size)
    elif "insufficient" in low and "/" in low.partition("insufficient")[2].partition(",")[0]:
        code, asked = "insufficient_gpu", f"{spec.gpu.count} x {spec.gpu.name or 'any GPU'}"
    elif "too many pods" in low:
        code = "too_many_pods"
    elif "volume" in low or "persistentvolumeclaim" in low:
        code = "volume_unbound"
    elif "affinity/selector" in low or "untolerated taint" in low:
        code = "no_such_node"
    else:
        code = "unschedulable"
    if asked:
        words = f"it asks for {asked} on a node{most}; the scheduler says: {words}"
    action = f"it will not start as it is: cancel it and ask for less ({key})" if most else ""
    if asked and machines is None:
        action = f"{REASONS[code].action}; {HIDDEN}"
    return reason(code, words, action)


def _largest(asked: int, offered: Sequence[int], show: object) -> str:
    most = max(offered, default=0)
    if not most or asked <= most or not callable(show):
        return ""
    return f", and the largest has {show(most)}"


def _creating(run: Handover, pods: Sequence[PodState]) -> PendingReason:
    for name, words in reversed(run.events):
        match name:
            case "Pulling":
                return reason("image_pulling", words)
            case "FailedMount" | "FailedAttachVolume" if not _is_being_made(run, words):
                return reason("volume", words)
            case "FailedCreatePodSandBox":
                return reason("container_config", words)
            case "Pulled" | "Created" | "Started":
                break
            case _:
                pass
    where = ", ".join(sorted({each.node for each in pods if each.node and not each.begun}))
    return reason("creating", where)


def _is_being_made(run: Handover, words: str) -> bool:
    """A node misses a Secret that belongs to the Job, and so is made after it: it looks again by itself."""
    return f'secret "{run.name}' in words and "not found" in words


def note_images(run: Handover, pods: Sequence[PodState]) -> None:
    """Keep what a registry said: while its node waits to ask again, the cluster tells only that.

    What differs in numbers alone, as in the ports of a connection that each try has anew, says nothing new.
    """
    for pod in pods:
        said = pod.waiting_words if pod.waiting == "ErrImagePull" else ""
        if said and _DIGITS.sub("", said) != _DIGITS.sub("", run.image_words):
            run.image_words = said


def hopeless(run: Handover, pods: Sequence[PodState], start_s: float) -> tuple[str, str]:
    """Why an attempt that has not begun never will, as reason and words; empty while there is hope."""
    faulty = [each for each in pods if not each.over and each.waiting in (IMAGE_ERRORS | CONFIG_ERRORS)]
    age = run.age("faulty", holds=bool(faulty))
    for pod in faulty:
        image = pod.waiting in IMAGE_ERRORS
        words = (run.image_words if image else "") or pod.waiting_words or pod.waiting
        final = pod.waiting in ("InvalidImageName", "ErrImageNeverPull")
        refused = image and any(each in words.lower() for each in NEVER)
        if final or (refused and age > NEVER_S) or age > start_s:
            what = f"{pod.image}: {words}" if image else f"{pod.name}: {pod.waiting}: {words}"
            return ("image" if image else "launch"), what
    return "", ""
