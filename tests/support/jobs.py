"""A local executor and jobs for it, which are real processes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pollinator.executors.base import Job, Observation
from pollinator.executors.local import LocalExecutor
from pollinator.executors.processes import below
from pollinator.v1.run_pb2 import RunState
from pollinator.v1.spec_pb2 import RunSpec
from support.sandbox import gone, wait_until

SUCCEEDED = RunState.RUN_STATE_SUCCEEDED
WAITS = "echo up; while [ ! -e go ]; do sleep 0.01; done"


class Site:
    """An executor with 4 cores and 8 GiB, and its jobs."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.jobs: dict[str, Job] = {}
        self.lives: list[LocalExecutor] = []
        self._others = set(below())
        self.restart()

    def restart(self) -> LocalExecutor:
        """The executor as another process has it."""
        self.executor = LocalExecutor(cores=4, memory_bytes=8 << 30)
        self.lives.append(self.executor)
        return self.executor

    def job(self, name: str, script: str = WAITS, **spec: Any) -> Job:
        """A job that is laid out; its id is unique on this machine."""
        path = self.root / name
        for tree in ("src", "data", "result"):
            (path / "work" / tree).mkdir(parents=True)
        given: dict[str, Any] = {"project": "p", "nodes": 1, "processes_per_node": 1, "command": "/bin/sh -c"}
        given.update({"arguments": [script], **spec})
        made = RunSpec(**given)
        self.jobs[name] = Job(f"{name}{os.getpid()}{hash(str(path)) & 0xFFFFFF:x}", made, path)
        return self.jobs[name]

    def submit(self, name: str, script: str = WAITS, **spec: Any) -> Job:
        """A job that is handed over."""
        job = self.job(name, script, **spec)
        self.executor.submit(job, {})
        return job

    def state(self, job: Job) -> RunState.ValueType:
        return self.executor.observe(job).state

    def wait(self, job: Job, state: RunState.ValueType) -> Observation:
        """Look until the job is in this state."""
        wait_until(lambda: self.state(job) == state, f"{job.run_id} is {RunState.Name(state)}")
        return self.executor.observe(job)

    def finish(self, job: Job) -> Observation:
        """Let a waiting job go on, and forget it when it has ended."""
        (job.work / "go").touch()
        seen = self.wait(job, SUCCEEDED)
        self.executor.forget(job)
        return seen

    def output(self, job: Job, rank: int = 0) -> bytes:
        try:
            return (job.output / str(rank)).read_bytes()
        except FileNotFoundError:
            return b""

    def close(self) -> None:
        """End all jobs, and let every life of the executor take notice of that."""
        for job in self.jobs.values():
            (job.work / "go").touch()
            for life in self.lives:
                with contextlib.suppress(OSError):
                    life.cancel(job)
        wait_until(lambda: all(map(gone, set(below()) - self._others)), "all processes have ended")
        for life in self.lives:
            for job in self.jobs.values():
                life.forget(job)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("POLLINATOR_GRACE_MS", "500")
    made = Site(tmp_path)
    try:
        yield made
    finally:
        made.close()
