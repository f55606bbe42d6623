"""Runs as jobs of Slurm.

What the host calls only notes a wish and reads what is known: files of the run, and what was told last.
Everything that asks Slurm is done by tasks of ``serve``, so that a controller that is down holds nobody up.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Self

from pollinator.executors.base import Executor, Job, Observation, Preview, Tell, check_settings
from pollinator.executors.containers.engines import ON_A_CLUSTER
from pollinator.executors.containers.inimage import WORK
from pollinator.executors.containers.use import SETTINGS as OF_CONTAINERS
from pollinator.executors.containers.use import Containers
from pollinator.executors.environment import RankPlace, rank_environment
from pollinator.executors.outcomes import outcome_of, state_of, usage_of
from pollinator.executors.records import STARTED, Record, write_exit, write_json
from pollinator.executors.slurm.cluster import Cluster
from pollinator.executors.slurm.ends import by_slurm, is_final
from pollinator.executors.slurm.handover import Handover, Look, has_begun
from pollinator.executors.slurm.pace import SETTING, pace_of
from pollinator.executors.slurm.reasons import SUBMITTED
from pollinator.executors.slurm.script import LOG, Place, Site, job_script, merged, tasks_cpus
from pollinator.executors.slurm.seen import JobSeen
from pollinator.executors.slurm.submission import Submission
from pollinator.v1.colony_pb2 import Colony
from pollinator.v1.executor_pb2 import Capabilities
from pollinator.v1.run_pb2 import Notice, PendingReason, RunState
from pollinator.v1.spec_pb2 import RunSpec, Slurm
from pollinator.wire.errors import InvalidInput, Violation

GRACE_MS = 5000
SLACK_S = 5.0
"""So much longer than the grace a job may take to end by itself."""
RECORD_S = 10.0
"""So long its record may take to be seen here: file systems of clusters are not quick."""
LOOK_S = 0.1
WAITING_LOOK_S = 0.5
LOOKS_A_SECOND = 100
"""So often files of all runs together are looked at: a whole cluster shares the file system."""
LOST_S = 60.0
"""So long after Slurm has forgotten a job."""
PREVIEW = "RUN"
"""Stands for the run's id where there is no run yet."""

HIDDEN = ("AWS_", "COLONIES_", "POLLINATOR_", "GRPC_", "SLURM_EXPORT_ENV", "SLURM_GET_USER_ENV")
"""What a job's environment may hold and a rank must not see."""
_TEXTS = ("partition", "account", "qos", "constraint", "reservation")
_LISTS = ("modules", "directives")
SETTINGS = (*(f"slurm.{name}" for name in (*_TEXTS, *_LISTS)), SETTING)


class SlurmExecutor(Executor):
    """Hands runs over to Slurm.

    Args:
        cluster: the one there is.
        state: where the runs are.
        settings: what runs are submitted with, unless they say.
        containers: engines that are on the nodes as well, and images on a file system that all see.
    """

    kind = "slurm"
    # File systems of clusters may have none: see ``claim``.
    needs_locks = False

    def __init__(self, cluster: Cluster, state: Path, settings: Slurm, containers: Containers) -> None:
        self._cluster = cluster
        self._containers = containers
        self.images = containers.images if containers.engines.order else None
        self._state = state
        self._settings = settings
        self._runs: dict[str, Handover] = {}
        self._submission = Submission(cluster, _grace_ms() / 1000 + SLACK_S)
        self._memory_source = ""
        """How memory was held where a run was last: nobody knows before."""

    @classmethod
    def create(cls, state: Path, settings: Mapping[str, str]) -> Self:
        """One that keeps what it knows of the cluster below ``state``."""
        check_settings(settings, (*SETTINGS, *OF_CONTAINERS))
        wishes = Slurm(**{name: settings[f"slurm.{name}"] for name in _TEXTS if f"slurm.{name}" in settings})
        for name in _LISTS:
            getattr(wishes, name).extend(_words(settings, f"slurm.{name}"))
        cluster = Cluster(state, pace=pace_of(settings.get(SETTING, "")))
        # What cannot be written down is refused now, and not with every run. What the cluster does not take
        # is for each run to say: those that are there already go on.
        place = Place(PREVIEW, state, [], _grace_ms())
        job_script(RunSpec(nodes=1, processes_per_node=1), wishes, place, Site())
        return cls(cluster, state, wishes, Containers.create(settings, ON_A_CLUSTER))

    async def serve(self) -> None:
        """Submit, cancel, and follow jobs."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._cluster.run(), name="cluster")
            group.create_task(self._submission.run(), name="submission")

    # What there is

    def capabilities(self) -> Capabilities:
        """What the cluster offers."""
        found = self._cluster.capabilities()
        found.memory_source = self._memory_source
        found.features.extend(["memory_limit", "time_limit", "cancel", "secrets"])
        found.container_engines[:] = self._containers.names()
        if found.container_engines:
            found.features.append("containers")
        return found

    def preflight(self, spec: RunSpec) -> list[Notice]:
        """Refuse what no partition takes, and what no job script can hold."""
        wrong, notices = self._containers.check(spec) if spec.image else ([], [])
        if wrong:
            raise InvalidInput(
                "this run cannot run on this cluster",
                reason="cannot_run_here",
                hint="change the settings, or name another executor: pollinator executors",
                violations=wrong,
            )
        self._script(spec, PREVIEW)
        return [*self._cluster.notices(spec), *notices]

    def prepare_image(self, job: Job, tell: Tell) -> list[Notice]:
        """Have the image where the nodes see it."""
        return self._containers.prepare(job, tell)

    async def preview(self, spec: RunSpec, colony: Colony, *, script: bool, estimate: bool) -> Preview:
        """The job script, and what Slurm's scheduler says of it."""
        text = self._script(spec, PREVIEW)
        eta = await self._cluster.test(text) if estimate else None
        return Preview(script=text if script else "", eta=eta)

    async def explain(
        self, job: Job, pending: PendingReason | None, *, estimate: bool
    ) -> PendingReason | None:
        """Why it waits, and on demand when it may start."""
        run = self._runs.get(job.run_id)
        if pending is None or run is None or not run.job_id or not estimate:
            return pending
        eta = await self._cluster.estimate(run.job_id)
        said = PendingReason()
        said.CopyFrom(pending)
        if eta is not None:
            said.eta.FromDatetime(eta)
        return said

    # Runs

    def submit(self, job: Job, secrets: dict[str, str]) -> None:
        """Note that it is to be handed over, or that it was."""
        if job.run_id in self._runs:
            return
        run = self._run(job)
        if run.cancelled:
            self._submission.cancel(run)
        if run.job_id or is_final(run.look(LOOK_S).record):
            return
        job.output.mkdir(mode=0o700, exist_ok=True)
        if not (job.workspace / STARTED).exists():
            write_json(job.workspace / "launch.json", self._plan(job))
            if secrets:
                write_json(job.workspace / "secrets.json", secrets)
        self._submission.submit(run)

    def observe(self, job: Job) -> Observation:
        """By the files of the run, and by what Slurm told last."""
        run = self._run(job)
        seen = self._cluster.seen(run.job_id) if run.job_id else None
        look = run.look(self._look_s(seen))
        if is_final(look.record):
            record = look.record
        else:
            if run.note_interrupted(look):
                # Slurm may not be asked for half a minute, and is the only one that knows why.
                self._cluster.look()
            record = self._ended_in_slurm(run, look, seen)
        if record is None:
            return self._alive(run, look, seen)
        usage = usage_of(record)
        self._memory_source = usage.memory_source or self._memory_source
        return Observation(_state(record), nodes=_nodes(look), outcome=outcome_of(record), usage=usage)

    def cancel(self, job: Job) -> None:
        """Tell the supervisor in the job, and Slurm."""
        (job.workspace / "cancel").touch()
        self._submission.cancel(self._run(job))

    def forget(self, job: Job) -> None:
        """Ask no more about its job."""
        self._containers.release(job)
        run = self._runs.pop(job.run_id, None)
        if run is not None:
            self._submission.leave(run)

    def _run(self, job: Job) -> Handover:
        """What is known of it, after a restart as well."""
        if job.run_id not in self._runs:
            run = Handover(job, partial(self._script, job.spec, job.run_id))
            self._runs[job.run_id] = run
            if run.job_id:
                self._cluster.follow(run.job_id, run.intent.since)
        return self._runs[job.run_id]

    def _look_s(self, seen: JobSeen | None) -> float:
        """How old what is known of a run's files may be."""
        waits = seen is not None and seen.meaning.state == RunState.RUN_STATE_QUEUED
        return max(WAITING_LOOK_S if waits else LOOK_S, len(self._runs) / LOOKS_A_SECOND)

    # While it lives

    def _alive(self, run: Handover, look: Look, seen: JobSeen | None) -> Observation:
        if run.note_attempt(run.attempt_of(look, seen)):
            return Observation(RunState.RUN_STATE_QUEUED, pending=self._pending(run, seen))
        if has_begun(look, seen):
            run.note_starting()
            return Observation(RunState.RUN_STATE_RUNNING, nodes=_nodes(look))
        waits = seen is None or seen.meaning.state == RunState.RUN_STATE_QUEUED
        if waits and not run.starting:
            return Observation(RunState.RUN_STATE_QUEUED, pending=self._pending(run, seen))
        run.note_starting()
        return Observation(RunState.RUN_STATE_STARTING, nodes=seen.nodes if seen else ())

    def _pending(self, run: Handover, seen: JobSeen | None) -> PendingReason:
        if seen is not None:
            return self._cluster.explain(seen, run.job.spec)
        if run.pending is not None:
            return run.pending
        text = f"Slurm has it as job {run.job_id}" if run.job_id else "it is being handed over to Slurm"
        return PendingReason(code=SUBMITTED, text=text, action="nothing has to be done")

    # When it has ended

    def _ended_in_slurm(self, run: Handover, look: Look, seen: JobSeen | None) -> Record | None:
        """The record of one that left none, once Slurm has said that it ended and there was time for it."""
        if seen is None or not run.has_ended(seen):
            run.ended_at = None
            return None
        now = time.monotonic()
        if run.ended_at is None:
            run.ended_at = now
        if now < run.ended_at + _patience(look, seen):
            return None
        record = by_slurm(
            seen, look.record, cancelled=run.cancelled, started=look.started is not None or look.attempts > 0
        )
        if run.may_go_on(seen, look, record):
            run.go_on(look.record)
            self._submission.submit(run)
            return None
        if record["reason"] == "launch":
            record["detail"] += _tail(run.path / LOG)
        write_exit(run.path, record)
        run.forget_look()
        return record

    # What is handed over

    def _workspace(self, run_id: str) -> Path:
        return self._state / "runs" / run_id

    def _script(self, spec: RunSpec, run_id: str) -> str:
        wishes = merged(self._settings, spec.slurm)
        workspace = self._workspace(run_id)
        command = [sys.executable, "-E", "-m", "pollinator.executors.slurm.batch", str(workspace)]
        place = Place(run_id, workspace, command, _grace_ms())
        whole = RunSpec()
        whole.CopyFrom(spec)
        whole.slurm.CopyFrom(wishes)
        whole.gpu.name = self._cluster.gpu_model(spec)
        partition = self._cluster.partition_for(whole)
        return job_script(whole, wishes, place, Site(partition, self._longest_ms(partition)))

    def _longest_ms(self, partition: str) -> int:
        """The longest time that a partition allows; an empty name is the default one. 0 is not known."""
        probe = self._cluster.probe
        for each in probe.partitions if probe else ():
            if each.name == partition or (each.default and not partition):
                return each.max_walltime_s * 1000
        return 0

    def _plan(self, job: Job) -> dict[str, Any]:
        """What the supervisor in the job has to know; every place in it is found there."""
        spec = job.spec
        # The engine's own variables are those of the node.
        container = self._containers.plan(job, {}, 0)
        work = WORK if container else str(job.work)
        command = shlex.split(spec.command)
        if spec.source:
            command.append(f"{work}/src/{spec.source}")
        return {
            "run_id": job.run_id,
            "argv": [*command, *spec.arguments],
            "env": rank_environment(job, RankPlace(0, 0, 0, (), "", 0), work),
            "hidden": HIDDEN,
            "container": container,
            "workspace": str(job.workspace),
            "cwd": str(job.work),
            "output": str(job.output),
            "ranks_per_node": spec.processes_per_node,
            "cpus_per_task": tasks_cpus(spec),
            "init_command": "" if spec.image and not container else spec.init_command,
            "walltime_ms": spec.walltime_ms,
            "warning": spec.signal,
            "grace_ms": _grace_ms(),
            "memory_bytes": spec.memory_bytes,
            "requeue": spec.requeue,
            "max_requeues": spec.max_requeues,
        }


def _words(settings: Mapping[str, str], name: str) -> list[str]:
    try:
        return shlex.split(settings.get(name, ""))
    except ValueError as error:
        wrong = [Violation(name, f"cannot be taken apart: {error}")]
        raise InvalidInput("a setting cannot be meant", reason="bad_settings", violations=wrong) from error


def _grace_ms() -> int:
    return int(os.environ.get("POLLINATOR_GRACE_MS", GRACE_MS))


def _patience(look: Look, seen: JobSeen) -> float:
    """How long a final record may still appear."""
    if look.record is not None or (seen.meaning.ended and not seen.nodes):
        # It was interrupted, and all that it started is gone; or it never had a node.
        return 0.0
    return LOST_S if seen.gone else RECORD_S


def _nodes(look: Look) -> tuple[str, ...]:
    return tuple(look.started["nodes"]) if look.started is not None else ()


def _state(record: Record) -> RunState.ValueType:
    return RunState.RUN_STATE_LOST if record["reason"] == "lost" else state_of(record)


def _tail(log: Path) -> str:
    """What was said last in the job, for people."""
    try:
        text = log.read_bytes()[-2000:].decode(errors="replace").strip()
    except OSError:
        return ""
    return f":\n{text}" if text else ""
