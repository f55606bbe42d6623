"""The supervisor beside a run: starts its ranks, holds them to their limits, and writes the exit record.

``python -m pollinator.executors.supervise WORKSPACE``. One process per run and node, in a session of its own,
so that it outlives the executor and the daemon. A little of the standard library and nothing else, because
every run waits for these imports: no dataclasses, no shutil; what only some runs need is imported there.
It holds a lock as long as it lives; whoever finds the lock free and no exit record knows that it was killed.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import IO, Any

from pollinator.executors.containers.opening import OnHost, open_inside
from pollinator.executors.memory import MemoryGuard, guard_memory, largest_child
from pollinator.executors.records import EXIT, STARTED, write_exit_patiently, write_json

TICK_S = 0.02
SLOW_TICK_S = 0.1
REPORTED_S = 0.5
"""Longest time from a kill to the report of that process's end; freeing its memory takes time."""
_PR_SET_CHILD_SUBREAPER = 36


class Supervision:
    """One run on this node."""

    def __init__(
        self,
        workspace: Path,
        plan: dict[str, Any],
        memory: MemoryGuard | None = None,
        fds: Sequence[int] = (),
    ) -> None:
        self._workspace = workspace
        self._plan = plan
        # Each with its rank. The objects are kept, and never asked: one that is dropped or asked takes the
        # exit status, and a rank that failed would be taken for one that did not.
        self._running: dict[int, tuple[int, subprocess.Popen[bytes]]] = {}
        self._inside = open_inside(workspace, plan)
        limit = 0 if self._inside.own_limits else int(plan["memory_bytes"])
        self._memory = memory or guard_memory(str(plan["run_id"]), limit)
        # Open files that every rank inherits.
        self._fds = fds
        self._started = time.time()
        self._began = time.monotonic()
        self._verdict: dict[str, Any] | None = None
        self._kill_at: float | None = None
        self._initialising = False
        self._over_since: float | None = None
        self._warn_at = self._warning_time()

    def run(self) -> dict[str, Any]:
        """Run to the end; returns the exit record."""
        self._look()
        self._begin()
        if init := self._plan["init_command"]:
            self._initialising = True
            self._start(self._plan["ranks"][0], ["/bin/sh", "-c", init])
            self._wait()
            self._initialising = False
        for rank in self._plan["ranks"]:
            self._start(rank, rank["argv"])
        self._wait()
        self._inside.close()
        self._sweep()
        return self._record()

    def _begin(self) -> None:
        """Make the place where the ranks will be, unless the end is decided."""
        if self._verdict is not None:
            return
        if problem := self._inside.begin():
            self._decide("launch", 0, 127, problem)
        # Their time begins now.
        self._began = time.monotonic()
        self._warn_at = self._warning_time()
        if (guard := self._inside.guard) is not None:
            self._memory.close()
            self._memory = guard

    def _start(self, rank: dict[str, Any], argv: list[str]) -> None:
        """Start a rank, or what comes before it, unless the end is decided."""
        if self._verdict is not None:
            return
        number = int(rank["rank"])
        problem = self._inside.refuses(argv[0], rank["env"])
        if not problem:
            try:
                self._running.update(self._spawn(number, argv, rank["env"], rank["output"]))
                return
            except (OSError, ValueError) as error:
                problem = f"cannot start {argv[0]!r}: {error}"
        self._decide("launch", number, 127, problem)
        self._end_all(signal.SIGKILL)

    def _spawn(
        self, rank: int, argv: list[str], env: dict[str, str], output: str
    ) -> dict[int, tuple[int, subprocess.Popen[bytes]]]:
        entry = self._inside.enter(rank, argv, env)
        with entry.stdin, _output(output) as printed:
            child = subprocess.Popen(
                self._memory.wrap(entry.argv),
                stdin=entry.stdin,
                stdout=printed,
                stderr=printed,
                cwd=entry.cwd,
                env=entry.env,
                process_group=0,
                pass_fds=self._fds,
            )
        return {child.pid: (rank, child)}

    def _wait(self) -> None:
        """Until nothing that was started runs any more."""
        while self._running:
            self._reap()
            if self._running:
                self._look()
                time.sleep(TICK_S if time.monotonic() - self._began < 5 else SLOW_TICK_S)

    def _reap(self) -> None:
        """Take the exit of every child that has ended, ranks and strays alike."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                for rank, _ in self._running.values():
                    self._decide("node_failed", rank, 1, "how a rank ended was lost")
                self._running.clear()
                return
            if pid == 0:
                return
            if pid in self._running:
                rank, child = self._running.pop(pid)
                child.returncode = os.waitstatus_to_exitcode(status)
                code, problem = self._inside.ended(rank, child.returncode)
                if problem:
                    self._decide("launch", rank, 127, problem)
                    self._end_all(signal.SIGKILL)
                else:
                    self._rank_ended(rank, code)

    def _rank_ended(self, rank: int, code: int) -> None:
        if not code or self._verdict is not None:
            return
        detail = f"init-cmd ended with {_shown(code)}" if self._initialising else ""
        if self._memory.exceeded(code, largest_child()):
            self._decide("out_of_memory", rank, code, detail)
        else:
            self._decide("signal" if code < 0 else "exit_code", rank, code, detail)
        # All or nothing: ranks that wait for the lost one would wait for ever.
        self._end_all(signal.SIGTERM)

    def _look(self) -> None:
        """Decide the end if there is a reason for one, and see that it comes."""
        now = time.monotonic()
        rank = min((rank for rank, _ in self._running.values()), default=0)
        limit_ms = self._plan["walltime_ms"]
        if self._warn_at is not None and now >= self._warn_at:
            self._warn_at = None
            self._warn()
        if self._verdict is None:
            if self._memory.over():
                self._out_of_memory(rank)
            elif limit_ms and now >= self._began + limit_ms / 1000:
                self._decide("time_limit", rank, -15)
                self._end_all(signal.SIGTERM)
            elif reason := self._asked():
                self._decide(reason, rank, -15)
                self._end_all(signal.SIGTERM)
        if self._kill_at is not None and now >= self._kill_at:
            self._end_all(signal.SIGKILL)

    def _asked(self) -> str:
        """Why somebody wishes that the run ends, or empty."""
        return "cancelled" if (self._workspace / "cancel").exists() else ""

    def _warning_time(self) -> float | None:
        """When the ranks are told that their time will be over; a warning that is too early comes at once."""
        limit_ms = int(self._plan["walltime_ms"])
        name, _, before_s = str(self._plan["warning"]).partition("@")
        if not name or not limit_ms:
            return None
        return self._began + max(0.0, limit_ms / 1000 - float(before_s))

    def _warn_now(self) -> None:
        """Warn at the next look, if that is still to come."""
        if self._warn_at is not None:
            self._warn_at = self._began

    def _warn(self) -> None:
        """Tell the ranks that their time will be over."""
        number = signal.Signals[f"SIG{self._plan['warning'].partition('@')[0]}"]
        self._inside.warn(number, self._by_rank())

    def _out_of_memory(self, rank: int) -> None:
        if not self._memory.held_by_kernel:
            self._decide("out_of_memory", rank, -9)
            self._end_all(signal.SIGKILL)
        elif self._over_since is None:
            # If it is a rank that the kernel has killed, its end will be reported in a moment.
            self._over_since = time.monotonic()
        elif time.monotonic() - self._over_since > REPORTED_S:
            self._decide("out_of_memory", rank, -9, "one of its processes was killed for that")
            self._end_all(signal.SIGTERM)

    def _decide(self, reason: str, rank: int, code: int, detail: str = "") -> None:
        """The first verdict stands; ``detail`` adds what the rest of the record does not say."""
        if self._verdict is None:
            self._verdict = {
                "reason": reason,
                "rank": rank,
                "exit_code": code if code >= 0 else 128 - code,
                "signal": max(0, -code),
                "detail": detail,
            }

    def _end_all(self, number: signal.Signals) -> None:
        if number != signal.SIGKILL and self._kill_at is None:
            self._kill_at = self._time_to_kill()
        if number != signal.SIGKILL:
            self._inside.ask(number, self._by_rank())
            return
        self._inside.end()
        OnHost("/").ask(number, self._by_rank())

    def _by_rank(self) -> dict[int, int]:
        """The process that was started for each rank."""
        return {rank: pid for pid, (rank, _) in self._running.items()}

    def _time_to_kill(self) -> float:
        return time.monotonic() + int(self._plan["grace_ms"]) / 1000

    def _sweep(self) -> None:
        """Kill whatever the ranks left behind."""
        for _ in range(50):
            self._end_all(signal.SIGKILL)
            try:
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            except ChildProcessError:
                return
            time.sleep(0.01)

    def _record(self) -> dict[str, Any]:
        if self._verdict is None and self._memory.held_by_kernel and self._memory.over():
            self._decide("out_of_memory", 0, 0, "it exited 0, but one of its processes was killed for that")
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        verdict = self._verdict or {
            "reason": "",
            "rank": 0,
            "exit_code": 0,
            "signal": 0,
            "detail": "",
        }
        peak = self._memory.peak(largest_child())
        self._memory.close()
        return {
            **verdict,
            "cpu_s": usage.ru_utime + usage.ru_stime + self._inside.cpu_s(),
            "peak_memory_bytes": peak,
            "memory_source": self._memory.source,
            "started": self._started,
            "ended": time.time(),
        }


def main(arguments: list[str]) -> int:
    """Supervise the run in the workspace; returns 0 also when there was nothing to do."""
    workspace = Path(arguments[0])
    lock = (workspace / "supervisor.lock").open("a+b")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return 0
    # An earlier supervisor started this run already. Once is enough, whatever became of it.
    if (workspace / STARTED).exists() or (workspace / EXIT).exists():
        return 0
    prepare_process()
    plan = json.loads((workspace / "launch.json").read_text(encoding="utf-8"))
    if plan["renew_source"]:
        from pollinator.executors.trees import renew_source

        renew_source(workspace)
    # Before the secrets are taken: a supervisor without them must never start the run.
    write_json(workspace / STARTED, {"pid": os.getpid(), "time": time.time()}, durable=True)
    _with_secrets(workspace, plan)
    write_exit_patiently(workspace, Supervision(workspace, plan).run())
    return 0


def prepare_process() -> None:
    """What a process needs before it supervises others."""
    _usual_signals()
    _become_subreaper()


def _with_secrets(workspace: Path, plan: dict[str, Any]) -> None:
    """Secrets come in a file of their own, which is gone before the first rank starts."""
    path = workspace / "secrets.json"
    try:
        secrets = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    path.unlink()
    for rank in plan["ranks"]:
        rank["env"].update(secrets)


def _output(path: str) -> IO[bytes]:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    return os.fdopen(descriptor, "ab", buffering=0)


def _shown(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def _become_subreaper() -> None:
    """Orphans of the ranks become children of this process, so that they can be found and killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _usual_signals() -> None:
    """Ranks begin with the usual handling of signals, whatever started this process.

    A shell in the background ignores SIGINT for all that it starts; with SIGCHLD ignored no exit status
    would ever be told. SIGHUP is caught, not ignored, because what is ignored stays so in the ranks.
    """
    for number in signal.valid_signals():
        if signal.getsignal(number) == signal.SIG_IGN and number not in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, _take_no_notice)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def _take_no_notice(number: int, frame: FrameType | None) -> None:
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
