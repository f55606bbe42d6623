"""A cluster as the executor sees it, at work on a real Slurm, whose every question is counted."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from pollinator.executors.slurm.cluster import Cluster
from pollinator.executors.slurm.commands import Commands
from pollinator.executors.slurm.pace import Pace
from pollinator.executors.slurm.seen import JobSeen
from support.components import program
from support.scripted_executor import until
from support.slurm import SOURCE, Slurm

PACE = Pace(quick_s=0.3, slow_s=2.0, down_s=1.0, share=0.5)


def counting(slurm: Slurm, folder: Path) -> Commands:
    """Slurm's programs, where each call of squeue and sacct leaves a line with its time."""
    folder.mkdir()
    for name in ("squeue", "sacct"):
        real = program(name, "slurm", SOURCE)
        path = folder / name
        path.write_text(f'#!/bin/sh\ndate +%s.%N >> {folder}/{name}.calls\nexec {real} "$@"\n')
        path.chmod(0o755)
    return Commands(os.environ | slurm.env | {"PATH": f"{folder}:{os.environ['PATH']}"})


def calls(folder: Path, name: str) -> list[float]:
    """When a program was called."""
    path = folder / f"{name}.calls"
    return [float(line) for line in path.read_text().split()] if path.exists() else []


def script(text: str, name: str = "test", *options: str) -> str:
    """A job script whose output is nobody's."""
    lines = [f"#SBATCH {each}" for each in (f"--job-name={name}", "--output=/dev/null", *options)]
    return "\n".join(["#!/bin/sh", *lines, text, ""])


@asynccontextmanager
async def cluster_at_work(slurm: Slurm, folder: Path, pace: Pace = PACE) -> AsyncGenerator[Cluster]:
    """One that follows jobs, and keeps its files and its counts in a folder."""
    cluster = Cluster(folder, counting(slurm, folder / "bin"), pace)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(cluster.run())
        yield cluster
        task.cancel()


async def has(
    cluster: Cluster, job_id: str, condition: Callable[[JobSeen], bool], timeout_s: float = 60.0
) -> JobSeen:
    """Wait until what is seen of a job is so."""

    def so() -> bool:
        seen = cluster.seen(job_id)
        return seen is not None and condition(seen)

    await until(so, f"job {job_id} is seen so", timeout_s)
    seen = cluster.seen(job_id)
    assert seen is not None
    return seen


def ended(seen: JobSeen) -> bool:
    """It does not run any more."""
    return seen.meaning.ended
