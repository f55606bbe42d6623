"""The cluster on which the contract suite runs. It is there for as long as the tests that need it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from support.s3_servers import started
from support.slurm import Slurm
from support.slurm_files import Options

KIND = "slurm"
"""Names of profiles that need it begin so."""
_there: list[Slurm | BaseException] = []
"""Or why it cannot be had."""


def environment() -> Mapping[str, str]:
    """How an executor finds it; skips the test where it cannot be had."""
    if not _there:
        # Those that bring a cluster of their own name it when they start.
        return {}
    cluster = _there[0]
    if not isinstance(cluster, Slurm):
        raise cluster
    return cluster.env


def clean(folder: Path) -> None:
    """Cancel the jobs that work below a folder."""
    for cluster in _there:
        if isinstance(cluster, Slurm):
            rows = [row.split(" ", 1) for row in cluster.run("squeue", "-h", "-o", "%A %Z").splitlines()]
            if jobs := [job_id for job_id, place in rows if Path(place).is_relative_to(folder)]:
                cluster.call("scancel", *jobs)


@pytest.fixture(scope="session", autouse=True)
def _cluster_of_contract(request: pytest.FixtureRequest) -> Iterator[None]:
    if not any(_needs(item) for item in request.session.items):
        yield
        return
    try:
        _there.append(started(_start))
    except pytest.skip.Exception as missing:
        _there.append(missing)
    yield
    match _there.pop():
        case Slurm() as cluster:
            cluster.stop()
        case _:
            pass


def _needs(item: pytest.Item) -> bool:
    callspec = getattr(item, "callspec", None)
    return callspec is not None and any(str(each).startswith(KIND) for each in callspec.params.values())


def _start() -> Slurm:
    # The kernel holds memory where this can be tried; else it is looked at.
    cgroup = Path("/sys/fs/cgroup/memory").is_dir()
    return Slurm(Options(cgroup=cgroup, nodes=[f"c{secrets.token_hex(3)}n{number}" for number in (1, 2, 3)]))
