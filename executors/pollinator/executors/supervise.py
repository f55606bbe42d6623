"""The supervisor beside a run: starts its ranks, holds them to their limits, and writes the exit record.

``python -m pollinator.executors.supervise WORKSPACE``. One process per run and node, in a session of its own,
so that it outlives the executor and the daemon. Only the standard library, so that it starts in milliseconds.
It holds a lock as long as it lives; whoever finds the lock free and no exit record knows that it was killed.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Any

from pollinator.executors.memory import MemoryGuard, guard_memory

TICK_S = 0.02
SLOW_TICK_S = 0.1
_PR_SET_CHILD_SUBREAPER = 36


class Supervision:
    """One run on this node."""

    def __init__(self, workspace: Path, plan: dict[str, Any]) -> None:
        self._workspace = workspace
        self._plan = plan
        self._ranks: dict[int, int] = {}
        self._groups: set[int] = set()
        self._memory: MemoryGuard = guard_memory(str(plan["run_id"]), int(plan["memory_bytes"]))
        self._started = time.time()
        self._verdict: dict[str, Any] | None = None
        self._kill_at: float | None = None
        self._left: dict[int, int] = {}

    def run(self) -> dict[str, Any]:
        """Run to the end; returns the exit record."""
        init = self._plan["init_command"]
        if init and not self._init(init):
            return self._record()
        deadline = self._deadline()
        for rank in self._plan["ranks"]:
            if not self._start(rank):
                break
        while self._ranks:
            self._reap()
            if self._ranks:
                self._look(deadline)
                time.sleep(TICK_S if time.time() - self._started < 5 else SLOW_TICK_S)
        self._sweep()
        return self._record()

    def _deadline(self) -> float | None:
        limit_ms = self._plan["walltime_ms"]
        return time.monotonic() + limit_ms / 1000 if limit_ms else None

    def _init(self, command: str) -> bool:
        first = self._plan["ranks"][0]
        with _output(first["output"]) as output:
            child = self._spawn(["/bin/sh", "-c", command], first["env"], output)
        code = child.wait()
        if code:
            self._decide("exit_code", first["rank"], code, f"init-cmd ended with {_shown(code)}")
        return code == 0

    def _start(self, rank: dict[str, Any]) -> bool:
        program = str(rank["argv"][0])
        place = os.path.join(str(self._plan["cwd"]), program) if "/" in program else program
        if shutil.which(place, path=rank["env"].get("PATH", os.defpath)) is None:
            self._decide("launch", rank["rank"], 127, f"there is no program {program!r} on this machine")
            self._end_all(signal.SIGKILL)
            return False
        with _output(rank["output"]) as output:
            try:
                child = self._spawn(rank["argv"], rank["env"], output)
            except OSError as error:
                self._decide("launch", rank["rank"], 127, f"cannot start {program!r}: {error.strerror}")
                self._end_all(signal.SIGKILL)
                return False
        self._ranks[child.pid] = rank["rank"]
        return True

    def _spawn(self, argv: list[str], env: dict[str, str], output: IO[bytes]) -> subprocess.Popen[bytes]:
        child = subprocess.Popen(
            self._memory.wrap(argv),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=self._plan["cwd"],
            env=env,
            process_group=0,
        )
        self._groups.add(child.pid)
        self._memory.add(child.pid)
        return child

    def _reap(self) -> None:
        """Take the exit of every child that has ended, ranks and strays alike."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                self._ranks.clear()
                return
            if pid == 0:
                return
            rank = self._ranks.pop(pid, None)
            if rank is not None:
                self._left[rank] = os.waitstatus_to_exitcode(status)
                self._rank_ended(rank, self._left[rank])

    def _rank_ended(self, rank: int, code: int) -> None:
        if code and self._verdict is None:
            if self._memory.exceeded():
                self._decide("out_of_memory", rank, code)
            elif code < 0:
                self._decide("signal", rank, code)
            else:
                self._decide("exit_code", rank, code)
            # All or nothing: ranks that wait for the lost one would wait for ever.
            self._end_all(signal.SIGTERM)

    def _look(self, deadline: float | None) -> None:
        now = time.monotonic()
        if self._verdict is None:
            if self._memory.over(self._ranks):
                self._decide("out_of_memory", min(self._ranks.values()), -9)
                self._end_all(signal.SIGKILL)
            elif deadline is not None and now >= deadline:
                self._decide("time_limit", min(self._ranks.values()), -15)
                self._end_all(signal.SIGTERM)
            elif (self._workspace / "cancel").exists():
                self._decide("cancelled", min(self._ranks.values()), -15)
                self._end_all(signal.SIGTERM)
        if self._kill_at is not None and now >= self._kill_at:
            self._end_all(signal.SIGKILL)

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
            self._kill_at = time.monotonic() + self._plan["grace_ms"] / 1000
        for group in self._groups:
            try:
                os.killpg(group, number)
            except (ProcessLookupError, PermissionError):
                continue

    def _sweep(self) -> None:
        """Kill whatever the ranks left behind, also what made a session of its own."""
        self._end_all(signal.SIGKILL)
        for _ in range(50):
            for pid in _children():
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            try:
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            except ChildProcessError:
                return
            time.sleep(0.01)

    def _record(self) -> dict[str, Any]:
        if self._verdict is None and self._memory.exceeded():
            self._decide("out_of_memory", 0, 0, "it exited 0, but one of its processes was killed for that")
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        verdict = self._verdict or {
            "reason": "",
            "rank": 0,
            "exit_code": 0,
            "signal": 0,
            "detail": "",
        }
        peak = self._memory.peak(usage.ru_maxrss * 1024)
        self._memory.close()
        return {
            **verdict,
            "cpu_s": usage.ru_utime + usage.ru_stime,
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
    if (workspace / "started.json").exists() or (workspace / "exit.json").exists():
        return 0
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    _become_subreaper()
    plan = json.loads((workspace / "launch.json").read_text(encoding="utf-8"))
    _with_secrets(workspace, plan)
    _write(workspace / "started.json", {"pid": os.getpid(), "time": time.time()})
    record = Supervision(workspace, plan).run()
    while True:
        try:
            _write(workspace / "exit.json", record)
            return 0
        except OSError:
            # The disk is full. Without the record nobody would ever know how the run ended.
            time.sleep(1)


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


def _write(path: Path, record: dict[str, Any]) -> None:
    """Atomically and durably."""
    temporary = path.with_suffix(".new")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(record, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


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


def _children() -> list[int]:
    try:
        text = Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii")
    except OSError:
        return []
    return [int(word) for word in text.split()]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
