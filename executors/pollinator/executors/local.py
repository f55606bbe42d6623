"""The local executor: ranks are processes on this machine, started when there is room for them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from pollinator.executors.base import Executor, Job, Observation, Preview, Tell, check_settings
from pollinator.executors.cgroups import kill_group
from pollinator.executors.containers.engines import HOST, ON_A_LAPTOP
from pollinator.executors.containers.inimage import WORK
from pollinator.executors.containers.use import SETTINGS, Containers
from pollinator.executors.environment import RankPlace, base_environment, rank_environment
from pollinator.executors.memory import memory_source
from pollinator.executors.outcomes import outcome_of, state_of, usage_of
from pollinator.executors.ports import free_port
from pollinator.executors.records import (
    EXIT,
    STARTED,
    Record,
    end_of_run,
    may_go_on,
    next_attempt,
    read_record,
    write_exit,
    write_json,
)
from pollinator.v1.colony_pb2 import Colony
from pollinator.v1.executor_pb2 import Capabilities
from pollinator.v1.run_pb2 import (
    Notice,
    PendingReason,
    RunState,
    Severity,
)
from pollinator.v1.spec_pb2 import RunSpec
from pollinator.wire.errors import InvalidInput, Violation
from pollinator.wire.faults import crash_point

GRACE_MS = 5000
STARTS = 3
"""A supervisor that so many times ended before it had begun will not begin at all."""
MAX_RANKS = 4096


class LocalExecutor(Executor):
    """Runs jobs first come, first served, as far as cores and memory go: those given, or the machine's."""

    kind = "local"

    def __init__(
        self, cores: int = 0, memory_bytes: int = 0, *, containers: Containers | None = None
    ) -> None:
        self._cores = cores or os.cpu_count() or 1
        self._memory = memory_bytes or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        self._node = socket.gethostname()
        self._source = memory_source()
        self._containers = containers or Containers.create({"containers.engines": HOST}, ())
        self.images = self._containers.images if self._containers.engines.order else None
        self._waiting: dict[str, Job] = {}
        self._secrets: dict[str, dict[str, str]] = {}
        self._taken: dict[str, RunSpec] = {}
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._leaving: list[subprocess.Popen[bytes]] = []
        self._starts: dict[str, int] = {}
        self._ports: dict[str, int] = {}
        """Of runs that have started: a rank may take its port late."""

    @classmethod
    def create(cls, state: Path, settings: Mapping[str, str]) -> Self:
        """One for this machine."""
        check_settings(settings, SETTINGS)
        return cls(containers=Containers.create(settings, ON_A_LAPTOP))

    def capabilities(self) -> Capabilities:
        """This machine."""
        engines = self._containers.names()
        return Capabilities(
            cpu_millis=self._cores * 1000,
            memory_bytes=self._memory,
            nodes=1,
            container_engines=engines,
            memory_source=self._source,
            features=[
                "memory_limit",
                "time_limit",
                "cancel",
                "secrets",
                *(["containers"] if engines else []),
            ],
        )

    def preflight(self, spec: RunSpec) -> list[Notice]:
        """Refuse what this machine can never run; say what will be different here."""
        violations: list[Violation] = []
        notices: list[Notice] = []
        if spec.gpu.count:
            violations.append(Violation("conditions.gpu.count", "the local executor has no GPUs to give"))
        if spec.memory_bytes * spec.nodes > self._memory:
            have = self._memory / 2**30
            violations.append(Violation("conditions.mem", f"this machine has {have:.1f} GiB in all"))
        if spec.nodes * spec.processes_per_node > MAX_RANKS:
            text = f"this machine runs at most {MAX_RANKS} ranks (nodes x processesPerNode)"
            violations.append(Violation("conditions.nodes", text))
        if spec.image:
            wrong, notices = self._containers.check(spec)
            violations += wrong
        if violations:
            raise InvalidInput(
                "this run cannot run on this machine",
                reason="cannot_run_here",
                hint="change the settings, or name another executor: pollinator executors",
                violations=violations,
            )
        if self._cpu(spec) > self._cores * 1000:
            text = f"asks for {self._cpu(spec) / 1000:g} cores; it gets all {self._cores} of this machine"
            notices.append(Notice(severity=Severity.SEVERITY_INFO, code="cpu_capped", text=text))
        return notices

    def prepare_image(self, job: Job, tell: Tell) -> list[Notice]:
        """Have the image as an engine of this machine runs it."""
        return self._containers.prepare(job, tell)

    async def preview(self, spec: RunSpec, colony: Colony, *, script: bool, estimate: bool) -> Preview:
        """The command, and now as its time when there is room and nobody waits."""
        free = not self._waiting and self._fits(spec)
        return Preview(
            script=_shown(spec) if script else "",
            eta=datetime.now(UTC) if estimate and free else None,
        )

    def submit(self, job: Job, secrets: dict[str, str]) -> None:
        """Put the job into the queue, or take note of one that an earlier process started."""
        self._secrets[job.run_id] = secrets
        if (job.workspace / STARTED).exists() or _supervised(job):
            self._taken[job.run_id] = job.spec
            if (launched := read_record(job.workspace / "launch.json")) is not None:
                self._ports[job.run_id] = int(launched["ranks"][0]["env"]["MASTER_PORT"])
            return
        # A try to start it that failed may have left it here.
        self._taken.pop(job.run_id, None)
        self._waiting[job.run_id] = job
        self._start_next()

    def observe(self, job: Job) -> Observation:
        """By the files that the supervisor writes; its lock says whether it lives."""
        waiting = job.run_id in self._waiting
        if waiting:
            self._start_next()
            waiting = job.run_id in self._waiting
        if waiting:
            return Observation(RunState.RUN_STATE_QUEUED, pending=self._pending(job))
        child = self._children.get(job.run_id)
        if child is not None and child.poll() is not None:
            del self._children[job.run_id]
        if (record := read_record(job.workspace / EXIT)) is not None:
            return self._after(job, record)
        if _supervised(job):
            started = (job.workspace / STARTED).exists()
            state = RunState.RUN_STATE_RUNNING if started else RunState.RUN_STATE_STARTING
            return Observation(state, nodes=self._nodes(job))
        if job.run_id in self._children:
            return Observation(RunState.RUN_STATE_STARTING)
        if (record := read_record(job.workspace / EXIT)) is not None:
            return self._after(job, record)
        return self._supervisor_gone(job)

    def cancel(self, job: Job) -> None:
        """Take the job out of the queue, or tell its supervisor."""
        (job.workspace / "cancel").touch()
        if self._waiting.pop(job.run_id, None) is not None:
            # Only one who holds the lock may write the record: a supervisor may have been started once.
            with (job.workspace / "supervisor.lock").open("a+b") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                write_exit(job.workspace, {"reason": "cancelled", "detail": "cancelled while it waited"})

    def forget(self, job: Job) -> None:
        """Give cores and memory back."""
        self._containers.release(job)
        for held in (self._taken, self._secrets, self._ports, self._starts):
            held.pop(job.run_id, None)
        if (child := self._children.pop(job.run_id, None)) is not None:
            self._leaving.append(child)
        # A supervisor takes a moment to end after its record: asked again, so that none stays a zombie.
        self._leaving = [each for each in self._leaving if each.poll() is None]
        self._start_next()

    # Queue

    def _cpu(self, spec: RunSpec) -> int:
        return spec.cpu_millis * spec.nodes

    def _fits(self, spec: RunSpec) -> bool:
        if not self._taken:
            return True
        return not self._lacking(spec)

    def _lacking(self, spec: RunSpec) -> str:
        cpu = self._cores * 1000 - sum(self._cpu(each) for each in self._taken.values())
        memory = self._memory - sum(each.memory_bytes * each.nodes for each in self._taken.values())
        if self._cpu(spec) > cpu:
            return "cpu"
        return "memory" if spec.memory_bytes * spec.nodes > memory else ""

    def _start_next(self) -> None:
        for job in list(self._waiting.values()):
            if not self._fits(job.spec):
                return
            del self._waiting[job.run_id]
            self._taken[job.run_id] = job.spec
            self._launch(job)

    def _pending(self, job: Job) -> PendingReason:
        ahead = list(self._waiting).index(job.run_id)
        others = ", ".join(run_id for run_id in self._taken)
        if ahead:
            text = "1 run is ahead of it" if ahead == 1 else f"{ahead} runs are ahead of it"
            return PendingReason(code="queue", text=text, action="wait, or cancel what is ahead")
        lacking = self._lacking(job.spec) or "cpu"
        if lacking == "cpu":
            free = self._cores - sum(self._cpu(each) for each in self._taken.values()) / 1000
            text = f"needs {self._cpu(job.spec) / 1000:g} cores; {max(0, free):g} of {self._cores} are free"
        else:
            taken = sum(each.memory_bytes * each.nodes for each in self._taken.values())
            need = job.spec.memory_bytes * job.spec.nodes / 2**30
            text = f"needs {need:.1f} GiB of memory; {(self._memory - taken) / 2**30:.1f} GiB are free"
        text += f"; used by {others}"
        return PendingReason(code=lacking, text=text, action="wait, or cancel a run that is not needed")

    # Launching

    def _launch(self, job: Job) -> None:
        job.output.mkdir(mode=0o700, exist_ok=True)
        write_json(job.workspace / "launch.json", self._plan(job))
        if secrets := self._secrets.get(job.run_id):
            write_json(job.workspace / "secrets.json", secrets)
        crash_point("before_supervisor")
        with (job.workspace / "supervisor.log").open("ab") as log:
            self._children[job.run_id] = subprocess.Popen(
                [sys.executable, "-m", "pollinator.executors.supervise", str(job.workspace)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
            )
        self._starts[job.run_id] = self._starts.get(job.run_id, 0) + 1
        crash_point("after_supervisor")

    def _plan(self, job: Job) -> dict[str, Any]:
        spec = job.spec
        port = self._ports[job.run_id] = free_port(self._ports.values())
        inherited = base_environment()
        container = self._containers.plan(job, inherited, min(self._cpu(spec) / 1000, self._cores))
        work = WORK if container else str(job.work)
        command = shlex.split(spec.command)
        if spec.source:
            command.append(f"{work}/src/{spec.source}")
        command += spec.arguments
        ranks: list[dict[str, Any]] = []
        for rank in range(job.ranks):
            node, local = divmod(rank, spec.processes_per_node)
            place = RankPlace(rank, node, local, (self._node,) * spec.nodes, "127.0.0.1", port)
            environment = ({} if container else inherited) | rank_environment(job, place, work)
            output = str(job.output / str(rank))
            ranks.append({"rank": rank, "argv": command, "env": environment, "output": output})
        return {
            "run_id": job.run_id,
            "ranks": ranks,
            "cwd": str(job.work),
            "container": container,
            "init_command": "" if spec.image and not container else spec.init_command,
            "walltime_ms": spec.walltime_ms,
            "warning": spec.signal,
            "renew_source": spec.requeue,
            "grace_ms": int(os.environ.get("POLLINATOR_GRACE_MS", GRACE_MS)),
            "memory_bytes": spec.memory_bytes * spec.nodes,
        }

    # Ends

    def _after(self, job: Job, record: Record) -> Observation:
        """An attempt has ended, and most often the run with it."""
        requeue, most = job.spec.requeue, job.spec.max_requeues
        if not may_go_on(job.workspace, record, requeue=requeue, max_requeues=most):
            return self._ended(job, end_of_run(job.workspace, record, requeue=requeue, max_requeues=most))
        if _supervised(job):
            # It lets go of its lock in a moment.
            return Observation(RunState.RUN_STATE_RUNNING)
        self._taken.pop(job.run_id, None)
        self._starts.pop(job.run_id, None)
        next_attempt(job.workspace)
        self._waiting[job.run_id] = job
        return Observation(RunState.RUN_STATE_QUEUED)

    def _ended(self, job: Job, record: Record) -> Observation:
        # Its results may take long to store; others can have its cores meanwhile.
        self._taken.pop(job.run_id, None)
        nodes = self._nodes(job) if (job.workspace / STARTED).exists() else ()
        return Observation(state_of(record), nodes=nodes, outcome=outcome_of(record), usage=usage_of(record))

    def _nodes(self, job: Job) -> tuple[str, ...]:
        return (self._node,) * job.spec.nodes

    def _supervisor_gone(self, job: Job) -> Observation:
        """No lock, no exit record. It was killed with its run, or before that: then it is started again."""
        if (job.workspace / STARTED).exists():
            killed = _kill_leftovers(job)
            detail = "the run's supervisor was killed, for example because this machine was restarted"
            if killed:
                detail += f"; {killed} processes it had left were killed"
            record = {"reason": "node_failed", "detail": detail, "exit_code": 1}
        elif self._starts.get(job.run_id, 0) < STARTS:
            self._launch(job)
            return Observation(RunState.RUN_STATE_STARTING)
        else:
            detail = f"the run's supervisor did not start; its log is {job.workspace / 'supervisor.log'}"
            record = {"reason": "launch", "detail": detail, "exit_code": 127}
        write_exit(job.workspace, record)
        return self._after(job, record)


def _shown(spec: RunSpec) -> str:
    """What each rank runs, for people."""
    ranks = spec.nodes * spec.processes_per_node
    command = [*shlex.split(spec.command), *([f"src/{spec.source}"] if spec.source else []), *spec.arguments]
    lines = [f"# once, before the ranks\n{spec.init_command}"] if spec.init_command and not spec.image else []
    return "\n".join([*lines, f"# {ranks} rank{'s' * (ranks > 1)}\n{shlex.join(command)}\n"])


def _supervised(job: Job) -> bool:
    try:
        with (job.workspace / "supervisor.lock").open("r+b") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _kill_leftovers(job: Job) -> int:
    """Kill every process of a run whose supervisor is gone; returns how many."""
    killed = kill_group(job.run_id)
    # Again, for what was started while the others were killed.
    while found := _marked(job.known_as) - killed:
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        killed |= found
    return len(killed)


def _marked(run_id: str) -> set[int]:
    """Processes that carry the run's id in their environment."""
    mark = f"POLLINATOR_RUN_ID={run_id}\0".encode()
    found: set[int] = set()
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():
        if name.isdecimal():
            with contextlib.suppress(OSError), open(f"/proc/{name}/environ", "rb") as file:
                if mark in file.read() + b"\0":
                    found.add(int(name))
    return found
