"""The supervisor in a job: claims the run, starts its ranks by srun, and last writes the exit record.

``python -m pollinator.executors.slurm.batch WORKSPACE``, which the job script becomes. It needs neither the
executor nor the controller. Slurm's own end of a job (its time, ``scancel``, preemption, a node going down)
comes as SIGTERM: then the record says that it was interrupted, and why is for Slurm to say.
Standard library only.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import IO, Any

from pollinator.executors.ports import free_port
from pollinator.executors.records import (
    EXIT,
    MAX_REQUEUES,
    STARTED,
    Record,
    attempts,
    may_go_on,
    next_attempt,
    read_record,
    write_exit,
    write_exit_patiently,
    write_json,
)
from pollinator.executors.slurm.nodelist import hostnames
from pollinator.executors.slurm.rank import STOPPED
from pollinator.executors.slurm.step import Step
from pollinator.executors.supervise import prepare_process
from pollinator.executors.trees import remove_tree, renew_source

CLAIM = "claim"
"""Holds the id of the job that runs the run; there may be others that were submitted for it."""
INTERRUPTED = "interrupted"
"""Slurm ended the job, and knows why."""
WHY = "why"
"""Beside it, where Slurm does not know: why another attempt is due that needs another job."""
TICK_S = 0.05
SLOW_TICK_S = 0.2
QUICK_S = 5.0
LOOK_S = 1.0
"""So often the records of ranks are looked for although nothing was said about them."""
SLACK_S = 3.0
"""Longer than it takes a signal to reach all of a job."""
SHOWN_S = 10.0
"""So long a file that another node wrote may take to be seen here."""
REQUEUE_S = 300.0
NEVER = "presently disabled"
"""What Slurm says of a job that it puts back for nobody."""
COMMAND_S = 30.0
_LEFT = re.compile(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)")


class Attempt:
    """One try at the run, on the nodes of this job."""

    def __init__(self, workspace: Path, plan: dict[str, Any], log: IO[bytes]) -> None:
        self._workspace = workspace
        self._plan = plan
        self._log = log
        self._began = time.monotonic()
        self._started = time.time()
        self._verdict: Record | None = None
        self._left: list[Record] = []
        self._end_at: float | None = None
        self._look_at = 0.0
        self._terminated = False
        self._warned = False
        signal.signal(signal.SIGTERM, self._terminate)
        signal.signal(signal.SIGUSR2, self._warn)

    def run(self) -> Record:
        """Run to the end; returns the exit record."""
        ranks = int(self._plan["ranks_per_node"])
        every = range(ranks * len(self._plan["nodes"]))
        if init := str(self._plan["init_command"]):
            argv = ["/bin/sh", "-c", init]
            self._run_step("init", {"argv": argv, "initialising": True}, 1, every[::ranks])
        if self._verdict is None:
            self._run_step("ranks", {"initialising": False}, ranks, every)
        return self._record()

    def _run_step(
        self, name: str, changes: dict[str, Any], tasks_per_node: int, ranks: Sequence[int]
    ) -> None:
        records = self._workspace / "ranks" / name
        remove_tree(records)
        records.mkdir(parents=True)
        left = max(1, int(self._plan["walltime_ms"] - 1000 * (time.monotonic() - self._began)))
        times = {"walltime_ms": left if self._plan["walltime_ms"] else 0, "records": str(records)}
        step = Step(name, self._plan | changes | times, tasks_per_node, self._log)
        try:
            while not step.ended:
                step.listen(TICK_S if time.monotonic() - self._began < QUICK_S else SLOW_TICK_S)
                self._look(step, records)
            self._settle(step, records, ranks)
        finally:
            step.close()

    def _look(self, step: Step, records: Path) -> None:
        """Decide the end if there is a reason for one, and see that it comes."""
        now = time.monotonic()
        if self._warned:
            self._warned = False
            step.tell({"warn": True})
        if self._terminated and not (self._workspace / EXIT).exists():
            # Slurm may leave no time for a better one.
            write_exit(self._workspace, verdict(INTERRUPTED, 0, -signal.SIGTERM))
        if self._verdict is None:
            self._verdict = self._wished(now) or self._first_failed(step, records, now)
            if self._verdict is not None:
                step.tell({"end": STOPPED})
                self._end_at = now + int(self._plan["grace_ms"]) / 1000 + SLACK_S
        elif self._end_at is not None and now >= self._end_at:
            step.end()
            self._end_at = now + SLACK_S

    def _wished(self, now: float) -> Record | None:
        limit_ms = self._plan["walltime_ms"]
        if (self._workspace / "cancel").exists():
            return verdict("cancelled", 0, -signal.SIGTERM)
        # The ranks hold themselves to it, from when they began.
        if limit_ms and now >= self._began + limit_ms / 1000 + SLACK_S:
            return verdict("time_limit", 0, -signal.SIGTERM)
        return None

    def _first_failed(self, step: Step, records: Path, now: float) -> Record | None:
        if not step.about_tasks and now < self._look_at:
            return None
        step.about_tasks = False
        self._look_at = now + LOOK_S
        return first_failed(read_all(records).values())

    def _settle(self, step: Step, records: Path, ranks: Sequence[int]) -> None:
        """What the records say, and Slurm where there is none."""
        found = read_all(records)
        deadline = time.monotonic() + (SHOWN_S if self._verdict is None and not self._terminated else 0)
        while len(found) < len(ranks) and found and time.monotonic() < deadline:
            time.sleep(TICK_S)
            found = read_all(records)
        self._left += found.values()
        missing = [rank for rank in ranks if rank not in found]
        if self._verdict is None:
            self._verdict = first_failed(found.values())
        if self._verdict is None and missing:
            self._verdict = self._unrecorded(step, missing, nobody=not found)
        self._verdict = self._as_slurm_says(step)

    def _unrecorded(self, step: Step, missing: Sequence[int], *, nobody: bool) -> Record:
        if self._terminated_soon():
            return verdict(INTERRUPTED, missing[0], -signal.SIGTERM)
        if step.out_of_memory:
            return verdict("out_of_memory", missing[0], -signal.SIGKILL)
        if nobody:
            return verdict("launch", missing[0], 127, f"srun did not start the ranks: {step.words}")
        return verdict("node_failed", missing[0], 1, f"rank {missing[0]} left no word: {step.words}")

    def _as_slurm_says(self, step: Step) -> Record | None:
        found = self._verdict
        if found is None and step.out_of_memory:
            return verdict("out_of_memory", 0, 0, "it exited 0, but one of its processes was killed for that")
        if found is None or found["reason"] != "signal":
            return found
        if found["signal"] == signal.SIGKILL and step.out_of_memory:
            return found | {"reason": "out_of_memory"}
        if found["signal"] == signal.SIGTERM and self._terminated_soon():
            # Slurm's signal reached a rank before it reached us.
            return found | {"reason": INTERRUPTED}
        return found

    def _terminated_soon(self) -> bool:
        deadline = time.monotonic() + SLACK_S
        while not self._terminated and time.monotonic() < deadline:
            time.sleep(TICK_S)
        return self._terminated

    def _record(self) -> Record:
        peaks = Counter[int]()
        for each in self._left:
            peaks[each["node"]] += each["peak_memory_bytes"]
        return {
            **(self._verdict or verdict("", 0, 0)),
            "cpu_s": sum(each["cpu_s"] for each in self._left),
            "peak_memory_bytes": max(peaks.values(), default=0),
            "memory_source": next((each["memory_source"] for each in self._left), ""),
            "started": self._started,
            "ended": time.time(),
        }

    def _terminate(self, number: int, frame: FrameType | None) -> None:
        self._terminated = True

    def _warn(self, number: int, frame: FrameType | None) -> None:
        self._warned = True


def verdict(reason: str, rank: int, code: int, detail: str = "") -> Record:
    """How the run ended, for its record; a negative code is a signal."""
    return {
        "reason": reason,
        "rank": rank,
        "exit_code": int(code) if code >= 0 else 128 - code,
        "signal": max(0, -code),
        "detail": detail,
    }


def read_all(folder: Path) -> dict[int, Record]:
    """The records of ranks that are there by now."""
    found = {int(path.stem): read_record(path) for path in folder.glob("*.json")}
    return {rank: record for rank, record in found.items() if record is not None}


def first_failed(records: Iterable[Record]) -> Record | None:
    """The rank that failed first, as the verdict on all."""
    failed = [each for each in records if each["reason"] not in ("", STOPPED)]
    first = min(failed, key=lambda each: (each["ended"], each["rank"]), default=None)
    if first is None:
        return None
    return {name: first[name] for name in ("reason", "rank", "exit_code", "signal", "detail")}


def claim(workspace: Path, job_id: str) -> bool:
    """Take the run for this job; False when another job has it."""
    mine = workspace / f"{CLAIM}.{job_id}"
    mine.write_text(job_id, encoding="ascii")
    try:
        # Holds on every file system, which locks do not.
        os.link(mine, workspace / CLAIM)
    except FileExistsError:
        return (workspace / CLAIM).read_text(encoding="ascii") == job_id
    finally:
        mine.unlink()
    return True


def not_again(workspace: Path, plan: Mapping[str, Any], restarts: int) -> Record | None:
    """Make ready for an attempt; or the record of a run that must not have another."""
    ended = read_record(workspace / EXIT)
    if ended is not None and ended["reason"] != INTERRUPTED:
        return ended
    if (workspace / "cancel").exists():
        return verdict("cancelled", 0, -signal.SIGTERM)
    if not restarts and not (workspace / STARTED).exists():
        return None
    if not plan["requeue"]:
        detail = "Slurm started the job a second time, and the project asks for one attempt"
        return verdict("node_failed", 0, 1, detail)
    if attempts(workspace) >= (int(plan["max_requeues"]) or MAX_REQUEUES):
        return verdict("node_failed", 0, 1, "Slurm started the job once more than the project asks for")
    if ended is None:
        write_exit(workspace, verdict(INTERRUPTED, 0, -signal.SIGTERM))
    next_attempt(workspace)
    return None


def is_superseded(workspace: Path, job_id: str, restarts: int) -> bool:
    """Slurm took this node for dead, and the run went on elsewhere: this attempt is of no interest."""
    try:
        if (workspace / CLAIM).read_text(encoding="ascii") != job_id:
            return True
    except FileNotFoundError:
        return True
    started = read_record(workspace / STARTED)
    return started is not None and int(started["restarts"]) > restarts


def put_back(job_id: str) -> bool:
    """Have Slurm put this job back into its queue and end this attempt; False when it does not."""
    command = ["scontrol", "requeue", job_id]
    deadline = time.monotonic() + REQUEUE_S
    while time.monotonic() < deadline:
        # A node that has no scontrol, or no memory for one, must not cost the run its record.
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_S, check=False)
            print(done.stderr, end="", file=sys.stderr)  # noqa: T201 - the log
            if done.returncode == 0 or NEVER in done.stderr:
                return done.returncode == 0
        time.sleep(1)
    return False


def main(arguments: list[str]) -> int:
    """Supervise the run in the workspace; returns the exit code for Slurm."""
    workspace, job_id = Path(arguments[0]), os.environ["SLURM_JOB_ID"]
    if not claim(workspace, job_id):
        print(f"job {job_id} has nothing to do: another job runs this", file=sys.stderr)  # noqa: T201 - the log
        return 0
    prepare_process()
    # By itself this warning would end us; there is nobody to pass it on to yet.
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    plan: dict[str, Any] = json.loads((workspace / "launch.json").read_text(encoding="utf-8"))
    restarts = int(os.environ.get("SLURM_RESTART_COUNT", "0"))
    record = not_again(workspace, plan, restarts)
    if record is None:
        if plan["requeue"]:
            renew_source(workspace)
        place(plan, os.environ)
        bound_time(plan, job_id)
        started = {"job_id": job_id, "restarts": restarts, "nodes": plan["nodes"], "time": time.time()}
        # Before the secrets are taken: a job without them must never start the run.
        write_json(workspace / STARTED, started, durable=True)
        take_secrets(workspace, plan)
        record = Attempt(workspace, plan, sys.stderr.buffer).run()
    if is_superseded(workspace, job_id, restarts):
        return 0
    wishes = {"requeue": plan["requeue"], "max_requeues": plan["max_requeues"]}
    if may_go_on(workspace, record, **wishes):
        if put_back(job_id):
            return 0
        record |= {"reason": INTERRUPTED, WHY: record["reason"]}
    write_exit_patiently(workspace, record)
    shutil.rmtree(workspace / "ranks", ignore_errors=True)
    return min(255, int(record["exit_code"]))


def bound_time(plan: dict[str, Any], job_id: str) -> None:
    """Have our own end come before Slurm's, where somebody wants to do something before it or after it."""
    if not (plan["requeue"] or plan["warning"]):
        return
    left_s = time_left(job_id)
    if left_s is not None:
        most_ms = max(1, int(1000 * (left_s - SLACK_S)) - int(plan["grace_ms"]))
        plan["walltime_ms"] = min(int(plan["walltime_ms"]) or most_ms, most_ms)


def time_left(job_id: str) -> float | None:
    """Seconds until Slurm ends the job; None when it does not say, or never will."""
    command = ["squeue", "-h", "-j", job_id, "-o", "%L"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_S, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = _LEFT.fullmatch(said.strip())
    if found is None:
        return None
    days, hours, minutes, seconds = (int(each or 0) for each in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def place(plan: dict[str, Any], environ: Mapping[str, str]) -> None:
    """Note where the run is."""
    nodes = hostnames(environ["SLURM_JOB_NODELIST"])
    plan |= {"nodes": nodes, "master_address": master_address(nodes), "master_port": free_port(())}


def master_address(nodes: Sequence[str]) -> str:
    """Where the first node, which is this one, is reached by the others."""
    if len(nodes) > 1:
        for name in (nodes[0], socket.gethostname()):
            with contextlib.suppress(OSError):
                socket.getaddrinfo(name, None)
                return name
    return "127.0.0.1"


def take_secrets(workspace: Path, plan: dict[str, Any]) -> None:
    """Secrets come in a file that is gone before the first rank starts, unless they are needed again."""
    path = workspace / "secrets.json"
    secrets = read_record(path)
    if secrets is not None:
        plan["env"] |= secrets
        if not plan["requeue"]:
            path.unlink()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
