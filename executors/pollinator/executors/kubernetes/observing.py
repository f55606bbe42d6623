"""How runs are now: from journals of nodes and what the cluster told last to what the host wants to know.

Called often and never waits. What has to be done about what is seen is noted for ``Submission``.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator, Sequence
from typing import NoReturn

from pollinator.executors.base import Observation
from pollinator.executors.kubernetes.data import GO, STOP
from pollinator.executors.kubernetes.ends import by_cluster, by_journals, verdict
from pollinator.executors.kubernetes.handover import Handover
from pollinator.executors.kubernetes.offer import Offer
from pollinator.executors.kubernetes.reasons import explain, hopeless, note_images, reason
from pollinator.executors.kubernetes.seen import JobSeen, PodState
from pollinator.executors.kubernetes.settings import Site
from pollinator.executors.kubernetes.submission import Submission
from pollinator.executors.kubernetes.watcher import Watcher
from pollinator.executors.outcomes import outcome_of, state_of, usage_of
from pollinator.executors.records import STARTED, Record, read_record
from pollinator.v1.run_pb2 import Notice, PendingReason, RunState, Severity

LOOK_S = 0.05
WAITING_LOOK_S = 0.5
LOOKS_A_SECOND = 400
"""So often journals of all runs together are looked at: a whole cluster shares the volume."""
PODS_LOOK_S = 1.0
SLACK_S = 5.0
"""So much longer than the grace supervisors may take to end by themselves."""
WORD_S = 5.0
"""So long a word may take to come: of a node on the volume, or of the cluster on a container."""
LOST_S = 60.0
"""So much longer than it was given a pod may take to end before its node is taken for lost."""
DOWN_S = 10.0
"""So long the cluster may be silent before that is worth a word."""
UP_S = 1.0
"""So long a run starts before it says what it waits for."""


_log = logging.getLogger(__name__)


class Observing:
    """All runs of an executor.

    Args:
        watcher: knows Jobs and pods.
        submission: told what has to be done.
        offer: what the machines have.
        site: what the settings say.
        grace_s: so long ranks may take to end once they are asked to.
    """

    def __init__(
        self, watcher: Watcher, submission: Submission, offer: Offer, site: Site, grace_s: float
    ) -> None:
        self._watcher = watcher
        self._submission = submission
        self._offer = offer
        self._site = site
        self._patience_s = grace_s + SLACK_S
        self._runs: dict[str, Handover] = {}
        self.memory_source = ""
        """How memory was held where a run was last: nobody knows before."""

    def follow(self, run: Handover) -> None:
        """One that is known from now on."""
        self._runs[run.job.run_id] = run

    def forget(self, run: Handover) -> None:
        """One that is over."""
        self._runs.pop(run.job.run_id, None)

    def waiting(self) -> Iterator[Handover]:
        """Those that were handed over and have not begun."""
        return (run for run in list(self._runs.values()) if run.uid and not run.left and not run.running)

    def observe(self, run: Handover) -> Observation:
        """How it is now; as it was, where there is no room to write that down."""
        try:
            run.observed = self._observed(run)
        except OSError as error:
            if run.observed is None:
                raise
            _log.warning("run %s: %s", run.job.run_id, error)
        return run.observed

    def _observed(self, run: Handover) -> Observation:
        record = run.record
        if record is None:
            run.read(self._look_s(run))
            pods = self._watcher.pods(run.job.run_id, run.attempt)
            lost = self._look_at_pods(run, pods)
            note_images(run, pods)
            record = self._end(run, pods, lost)
            if record is None:
                self._act(run, pods)
                return self._alive(run, pods)
            if any(each.running for each in run.journals):
                # It began and ended between two looks.
                run.note_started(_nodes(run, pods))
                if run.may_go_on(record) and not run.shown:
                    # Of an attempt that another follows the host does not see that it began.
                    return self._running(run, _nodes(run, pods))
            run.end(record)
        return self._after(run, record)

    async def look(self) -> NoReturn:
        """Have known how pods are also of runs that the host does not ask about: it awaits their results."""
        while True:
            for run in list(self._runs.values()):
                for attempt in {max(1, run.attempt - 1), run.attempt}:
                    self._look_at_pods(run, self._watcher.pods(run.job.run_id, attempt), attempt)
            await asyncio.sleep(PODS_LOOK_S)

    def _look_at_pods(self, run: Handover, pods: Sequence[PodState], attempt: int = 0) -> list[str]:
        """Tell how they are, once that is known; which of them are lost with their nodes."""
        lost, attempt = self._lost(run, pods), attempt or run.attempt
        # Of an earlier attempt there was a Job, also while the next one has none.
        if self._watcher.knows and (run.uid or run.vanished or attempt < run.attempt):
            run.see(attempt, pods, lost)
        return lost

    def pending(self, run: Handover) -> PendingReason:
        """Why it has not begun."""
        if self._watcher.trouble is not None and run.uid:
            return reason("api_unreachable", self._watcher.trouble.message)
        if run.pending is not None and not run.whole:
            # It may have its Job, and lack what belongs to it.
            return run.pending
        if not run.uid:
            return reason("handing_over")
        pods = self._watcher.pods(run.job.run_id, run.attempt)
        queue = self._site.queue_of(run.job.spec)
        return explain(run, self._watcher.job(run.uid), pods, self._offer.machines, queue)

    def _look_s(self, run: Handover) -> float:
        """How old what is known of a run's journals may be."""
        base = LOOK_S if run.starting else WAITING_LOOK_S if run.age("waiting") > WAITING_LOOK_S else LOOK_S
        nodes = sum(each.job.spec.nodes for each in self._runs.values())
        return max(base, nodes / LOOKS_A_SECOND)

    # While it lives

    def _alive(self, run: Handover, pods: Sequence[PodState]) -> Observation:
        nodes = _nodes(run, pods)
        if run.running:
            return self._running(run, nodes)
        if nodes or run.starting or run.began:
            run.note_starting()
            late = run.age("starting") > UP_S
            state, pending = RunState.RUN_STATE_STARTING, self.pending(run) if late else None
        else:
            state, pending = RunState.RUN_STATE_QUEUED, self.pending(run)
        return Observation(state, pending=pending, nodes=nodes, notices=self._notices(), attempt=run.attempt)

    def _running(self, run: Handover, nodes: tuple[str, ...]) -> Observation:
        run.note_starting()
        run.note_started(nodes)
        run.shown = True
        return Observation(
            RunState.RUN_STATE_RUNNING, nodes=nodes, notices=self._notices(), attempt=run.attempt
        )

    def _notices(self) -> tuple[Notice, ...]:
        down = self._watcher.trouble is not None and time.monotonic() - self._watcher.trouble_since > DOWN_S
        if not down:
            return ()
        text = "the cluster does not answer; what runs there goes on, and it is asked again"
        return (Notice(severity=Severity.SEVERITY_WARNING, code="api_unreachable", text=text),)

    def _act(self, run: Handover, pods: Sequence[PodState]) -> None:
        """Have done what is due: the nodes of a run begin together, and end together."""
        pods = _lasting(run, self._watcher.job(run.uid), pods)
        ending = run.cancelled or bool(run.failed) or any(_failed(run, each) for each in pods)
        if not ending:
            self._let_go(run, pods)
            return
        if run.intent.since:
            self._submission.tell(run, STOP, "cancelled" if run.cancelled else "failed")
        hurry = run.cancelled and not run.began
        if run.uid and not run.deleted and (run.age("ending") > self._patience_s or hurry):
            run.is_deleted()
            self._submission.delete(run.uid, run.name)

    def _let_go(self, run: Handover, pods: Sequence[PodState]) -> None:
        nodes = _nodes(run, pods)
        there = [each for each in pods if not each.over]
        if run.job.spec.nodes == 1 or not nodes or not all(each.began for each in run.journals):
            return
        master = next((each.address for each in there if each.index == 0), "")
        if master:
            self._submission.tell(run, GO, f"{','.join(nodes)} {master}")

    def _lost(self, run: Handover, pods: Sequence[PodState]) -> list[str]:
        """Uids of pods that should have ended and do not: nobody on their nodes does anything about it."""
        for each in pods:
            if each.deleting or each.gone:
                run.age(f"leaving {each.uid}")
        return [
            each.uid
            for each in pods
            if run.age(f"deleting {each.uid}", holds=each.deleting and not each.over) > each.grace_s + LOST_S
        ]

    # When it has ended

    def _end(self, run: Handover, pods: Sequence[PodState], lost: Sequence[str]) -> Record | None:
        """How this attempt ended; None as long as it goes on, or as more may be learnt."""
        job = self._watcher.job(run.uid)
        if run.done:
            return self._by_journals(run, job, pods, lost)
        if (found := self._hopeless(run, pods)) is not None:
            return found
        over = self._is_over(run, job, pods, lost)
        age = run.age("over", holds=over)
        if not over or (run.began and age < WORD_S) or not self._settled(run):
            return None
        # The last of it may have come since.
        run.read(0.0)
        if run.done:
            return self._by_journals(run, job, pods, lost)
        return by_cluster(run, job, pods, lost)

    def _by_journals(
        self, run: Handover, job: JobSeen | None, pods: Sequence[PodState], lost: Sequence[str]
    ) -> Record | None:
        age = run.age("done")
        if not self._settled(run):
            return None
        record = by_journals(run, pods)
        if record is None:
            # The cluster ended it, and says why in a moment.
            known = all(each.over or each.uid in lost for each in pods) and self._watcher.trouble is None
            return by_cluster(run, job, pods, lost) if known or age > WORD_S else None
        killed = record["signal"] == 9 or record["exit_code"] == 137
        unsure = (killed and record["reason"] != "out_of_memory") or not record["memory_source"]
        if unsure and age < WORD_S and not all(each.over for each in pods):
            return None
        return record

    def _settled(self, run: Handover) -> bool:
        return run.data.settled(run.job, run.attempt)

    def _hopeless(self, run: Handover, pods: Sequence[PodState]) -> Record | None:
        if run.cancelled or not run.uid:
            return None
        what, words = hopeless(run, pods, self._site.start_s)
        if not what:
            return None
        if not run.deleted:
            run.is_deleted()
            self._submission.delete(run.uid, run.name)
        return verdict(what, 0, 0, words, code=127 if what == "launch" else 1)

    def _is_over(
        self, run: Handover, job: JobSeen | None, pods: Sequence[PodState], lost: Sequence[str]
    ) -> bool:
        """Nothing of an attempt runs any more, nor will."""
        if not (run.uid or run.vanished) or not self._watcher.knows:
            return False
        counted = _lasting(run, job, pods, lost)
        ended = {each.index for each in counted} - {each.index for each in counted if _runs(each, lost)}
        ended |= {node for node, journal in enumerate(run.journals) if journal.done}
        if len(ended) == run.job.spec.nodes:
            return True
        gone = job is None and (run.vanished or self._watcher.is_gone(run.uid, run.made_at))
        finished = gone or (job is not None and bool(job.failed or job.complete))
        # One that is suspended again ends its pods, and never has others.
        finished |= job is not None and job.suspended and run.began
        return finished and not any(_runs(each, lost) for each in pods)

    def _after(self, run: Handover, record: Record) -> Observation:
        """An attempt has ended, and most often the run with it."""
        if run.may_go_on(record):
            if run.uid:
                self._submission.delete(run.uid, run.name)
            run.go_on()
            self._submission.submit(run)
            return Observation(RunState.RUN_STATE_QUEUED, pending=reason("handing_over"), attempt=run.attempt)
        record = run.end_of_run(record)
        usage = usage_of(record)
        self.memory_source = usage.memory_source or self.memory_source
        nodes = _nodes(run, self._watcher.pods(run.job.run_id, run.attempt))
        return Observation(
            _state(record), nodes=nodes, outcome=outcome_of(record), usage=usage, attempt=run.attempt
        )


def _nodes(run: Handover, pods: Sequence[PodState]) -> tuple[str, ...]:
    """Names of its nodes in the order of their ranks, once all are known."""
    known = {each.index: each.node for each in reversed(pods) if each.node}
    if len(known) == run.job.spec.nodes:
        return tuple(known[index] for index in sorted(known))
    started = read_record(run.path / STARTED)
    return tuple(started["nodes"]) if started is not None else ()


def _lasting(
    run: Handover, job: JobSeen | None, pods: Sequence[PodState], lost: Sequence[str] = ()
) -> Sequence[PodState]:
    """Its pods without those that are taken back before any began, and that others may follow.

    So a queue does with one that begins too late: its Job is suspended, and goes on another time. That a pod
    was deleted for another reason is for the Job to say, which has failed then.
    """
    if run.began or job is None or job.failed or job.complete or job.deleting:
        return pods
    return [each for each in pods if each.uid in lost or not (each.gone or each.deleting)]


def _runs(pod: PodState, lost: Sequence[str]) -> bool:
    return not (pod.over or pod.uid in lost)


def _failed(run: Handover, pod: PodState) -> bool:
    """It is over, and its node has not said that all went well."""
    if not pod.over or pod.index >= len(run.journals):
        return False
    journal = run.journals[pod.index]
    # What it said last may take a moment to be seen here.
    return journal.failed or (not journal.done and run.age(f"silent {pod.uid}") > WORD_S)


def _state(record: Record) -> RunState.ValueType:
    return RunState.RUN_STATE_LOST if record["reason"] == "lost" else state_of(record)
