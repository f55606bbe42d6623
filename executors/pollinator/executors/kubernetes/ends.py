"""How an attempt ended, by what its nodes wrote down, and where they did not by what the cluster says.

Decides only. What nodes wrote down comes first: it is exact, and there also when the cluster has forgotten.
Nothing is a success without.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from pollinator.executors.kubernetes.handover import Handover
from pollinator.executors.kubernetes.journal import Journal
from pollinator.executors.kubernetes.seen import Ended, JobSeen, PodState
from pollinator.executors.records import Record

_ENDINGS = {"time": ("time_limit", 15), "stop": ("cancelled", 15), "term": ("term", 15), "memory": ("oom", 9)}
_DISRUPTIONS = {
    "PreemptionByScheduler": ("preempted", "was preempted by one that is more important"),
    "EvictionByEvictionAPI": ("preempted", "was evicted, as when its node is drained"),
    "DeletionByTaintManager": ("node_failed", "lost its node, which is not ready or was closed to it"),
    "DeletionByPodGC": ("node_failed", "lost its node, which is not there any more"),
    "TerminationByKubelet": (
        "node_failed",
        "was ended by its node, which is short of something or shuts down",
    ),
}
_STARTS = ("StartError", "ContainerCannotRun", "RunContainerError", "CreateContainerError")


def by_journals(run: Handover, pods: Sequence[PodState]) -> Record | None:
    """The record of an attempt of which all nodes have said all; None where they do not know the reason."""
    found = _verdict(run, pods)
    return None if found is None else found | _usage(run)


def _verdict(run: Handover, pods: Sequence[PodState]) -> Record | None:
    killed = {pod.index for pod in pods if pod.ended is not None and pod.ended.reason == "OOMKilled"}
    each = run.job.spec.processes_per_node
    for node, journal in enumerate(run.journals):
        if journal.ooms or node in killed or journal.ending == "memory":
            return _out_of_memory(journal, node * each)
    for node in run.failed:
        if (found := _of_node(run, node)) is not None:
            return found
    if not run.failed:
        return verdict("", 0, 0)
    # They were told to end: by us, when it was wished or another node was lost, or by the cluster.
    return verdict("cancelled", 0, 15) if run.cancelled else None


def _of_node(run: Handover, node: int) -> Record | None:
    journal, spec = run.journals[node], run.job.spec
    rank = node * spec.processes_per_node
    if journal.refused:
        return verdict("launch", rank, 0, _refusal(run, journal.refused), code=127)
    if (first := journal.first_failed) is not None:
        words = ""
        if journal.initialising:
            how = f"signal {first.signal}" if first.signal else f"exit code {first.exit_code}"
            words = f"init-cmd ended with {how}"
        return verdict(
            "signal" if first.signal else "exit_code", first.rank, first.signal, words, first.exit_code
        )
    match journal.ending:
        case "time":
            return verdict("time_limit", rank, 15)
        case "peers":
            began = sum(each.began for each in run.journals)
            text = f"{began} of {spec.nodes} nodes were there in time, and waited for the others in vain"
            return verdict("launch", rank, 0, text, code=1)
        case _:
            return None


def _refusal(run: Handover, what: str) -> str:
    program = shlex.split(run.job.spec.command)[0]
    match what:
        case "program":
            return f"there is no program {program!r} in the image"
        case "mode":
            return f"{program!r} is not executable; chmod +x makes it so"
        case _:
            return "the run's folder cannot be entered"


def _out_of_memory(journal: Journal, rank: int) -> Record:
    first = next((each for each in journal.ranks if each.signal == 9), None)
    if first is not None:
        return verdict("out_of_memory", first.rank, 9)
    failed = next((each for each in journal.ranks if not each.well), None)
    if failed is None and journal.done and journal.ranks:
        text = "it exited 0, but one of its processes was killed for that"
        return verdict("out_of_memory", rank, 0, text, code=0)
    return verdict(
        "out_of_memory", failed.rank if failed else rank, 9, "one of its processes was killed for that"
    )


def by_cluster(run: Handover, job: JobSeen | None, pods: Sequence[PodState], lost: Sequence[str]) -> Record:
    """The record of an attempt that has ended and of which some node did not say all.

    Args:
        run: the run.
        job: its Job, where there is one.
        pods: its pods, also those that are gone.
        lost: uids of those that do not end although they were told to.
    """
    usage = _usage(run)
    if run.cancelled:
        return verdict("cancelled", 0, 15) | usage
    if (known := _verdict(run, pods)) is not None and run.failed:
        return known | usage
    if job is not None and job.suspended and run.began:
        text = f"Job {job.name} was suspended while it ran, as for one that is more important"
        return verdict("preempted", 0, 15, text) | usage
    if (found := next(_of_pods(run, pods, lost), None)) is not None:
        return found | usage
    if job is None:
        text = f"Job {run.name} was deleted in the cluster, by somebody else"
        return verdict("cancelled", 0, 15, text) | usage
    if job.failed == "DeadlineExceeded":
        return verdict("time_limit", 0, 15, f"Job {job.name}: {job.words}") | usage
    text = (
        f"Job {job.name} ended, and its pods left no record: {job.words or job.failed or 'it says no more'}"
    )
    return verdict("node_failed" if run.began else "launch", 0, 0, text, code=1) | usage


def _of_pods(run: Handover, pods: Sequence[PodState], lost: Sequence[str]) -> Iterator[Record]:
    """What pods say of an end, the likeliest cause first."""
    each = run.job.spec.processes_per_node
    for pod in pods:
        rank = pod.index * each
        if pod.ended is not None and pod.ended.reason == "OOMKilled":
            yield verdict("out_of_memory", rank, 9)
        if pod.before_ended is not None:
            yield _before(pod, pod.before_ended, rank)
        if pod.ended is not None and pod.ended.reason in _STARTS:
            yield verdict("launch", rank, 0, f"{pod.name} was not started: {pod.ended.words}", code=127)
        if "DeadlineExceeded" in (pod.reason, pod.ended.reason if pod.ended else ""):
            yield verdict("time_limit", rank, 15, f"{pod.name}: {pod.words or 'its time is over'}")
        if pod.disrupted:
            reason, text = _DISRUPTIONS.get(pod.disrupted, ("node_failed", f"was ended: {pod.disrupted}"))
            words = pod.disrupted_words or pod.words
            yield verdict(
                reason, rank, 15, f"{pod.name} on {pod.node or 'no node'} {text}: {words}".rstrip(": ")
            )
        if pod.reason:
            yield verdict(
                "node_failed", rank, 0, f"{pod.name} on {pod.node}: {pod.reason}: {pod.words}", code=1
            )
    yield from _vanished(run, pods, lost)


def _vanished(run: Handover, pods: Sequence[PodState], lost: Sequence[str]) -> Iterator[Record]:
    each = run.job.spec.processes_per_node
    # Where one is deleted its Job ends the others: the first is what matters.
    for pod in sorted(pods, key=lambda pod: run.since.get(f"leaving {pod.uid}", float("inf"))):
        done = run.journals[pod.index].done if pod.index < len(run.journals) else False
        if done and not run.failed:
            continue
        rank = pod.index * each
        if pod.uid in lost:
            text = f"{pod.name} does not end, and {pod.node or 'its node'} does not answer"
            yield verdict("node_failed", rank, 0, text, code=1)
        elif pod.gone or pod.deleting:
            if not run.deleted:
                yield verdict(
                    "node_failed", rank, 15, f"{pod.name} was deleted in the cluster, by somebody else"
                )
        elif pod.ended is not None and not done:
            code = pod.ended.exit_code
            text = (
                f"{pod.name} ended with {code}, and its supervisor left no record: {pod.ended.words}".rstrip(
                    ": "
                )
            )
            yield verdict("node_failed", rank, 0, text, code=code or 1)


def _before(pod: PodState, ended: Ended, rank: int) -> Record:
    if ended.reason == "OOMKilled":
        return verdict("launch", rank, 9, f"{pod.before} of {pod.name} had too little memory")
    text = ended.words or f"{pod.before} ended with exit code {ended.exit_code}"
    return verdict("materialise", rank, 0, text, code=1)


def _usage(run: Handover) -> Record:
    told = [each for each in run.journals if each.source]
    return {
        "cpu_s": sum(each.cpu_us for each in told) / 1e6,
        "peak_memory_bytes": max((each.peak_bytes for each in told), default=0),
        "memory_source": told[0].source if told else "",
    }


def verdict(reason: str, rank: int, signal: int, detail: str = "", code: int | None = None) -> Record:
    """A record; the exit code is that of the signal unless another is given."""
    return {
        "reason": reason,
        "rank": rank,
        "exit_code": code if code is not None else (128 + signal if signal else 0),
        "signal": signal,
        "detail": detail,
    }
