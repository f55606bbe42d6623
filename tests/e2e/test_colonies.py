"""From a laptop through a colony to a cluster, and nobody opens a port."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.colonies.sites import Site
from support.colony_site import Serving, serving
from support.s3_servers import S3Server
from support.sandbox import Sandbox, sandbox, wait_until
from support.slurm import Slurm

__all__ = ["sandbox"]
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(200)]

ON_THE_HOST = "containers.engines=none"
WHERE = """\
import os, pathlib
print(os.environ["SLURMD_NODENAME"], (pathlib.Path(os.environ["PROJECT_DIR"]) / "data/hello.txt").read_text())
place = pathlib.Path("result/deep/er")
place.mkdir(parents=True, exist_ok=True)
(place / os.environ["RANK"]).write_text(os.environ["SLURMD_NODENAME"])
pathlib.Path("result/empty").touch()
"""
LONG = """\
import os, pathlib, sys, time
folder = pathlib.Path({folder!r})
with (folder / "jobs").open("a") as jobs:
    print(os.environ["SLURM_JOB_ID"], file=jobs)
for line in range(60):
    print("line", line, flush=True)
    time.sleep(0.1)
while not (folder / "go").exists():
    time.sleep(0.05)
print("done")
pathlib.Path("result/answer").write_text("42")
sys.exit(7)
"""


@pytest.fixture(scope="module")
def site(colony: Site, colony_s3: S3Server, slurm: Slurm) -> Iterator[Serving]:
    """A cluster that serves the colony."""
    with serving(colony, "slurm", ON_THE_HOST, **slurm.env, **colony_s3.environment()) as there:
        there.identity()
        yield there
    slurm.clear()


@pytest.fixture
def laptop(sandbox: Sandbox, site: Serving, colony_s3: S3Server) -> Iterator[Sandbox]:
    """A user with the variables of the colony and its bucket."""
    sandbox.env |= site.site.environment(site.user) | colony_s3.environment()
    yield sandbox
    sandbox.kill_everything()


def new_project(laptop: Sandbox, site: Serving, program: str) -> Path:
    """As ``pollinator new`` makes it, but for the program."""
    made = laptop.cli("new", "-e", site.name, "study", cwd=laptop.folder)
    assert 0 == made.returncode, made.stderr
    root = laptop.folder / "study"
    (root / "cfs" / "src" / "main.py").write_text(program)
    return root


def jobs(slurm: Slurm) -> set[str]:
    """Ids of all jobs that the cluster remembers."""
    return set(slurm.run("squeue", "-h", "-t", "all", "-o", "%A").split())


def test_three_nodes_print_their_names_and_their_results_come_home(
    laptop: Sandbox, site: Serving, slurm: Slurm
) -> None:
    root = new_project(laptop, site, WHERE)

    run = laptop.cli("run", "--follow", "--set", "conditions.nodes=3", cwd=root, timeout=100)

    assert 0 == run.returncode, run.stderr
    expected = [f"[{rank}] {node} Hello world!" for rank, node in enumerate(slurm.nodes)]
    assert expected == sorted(run.stdout.decode().splitlines())
    results = root / "cfs" / "result"
    assert list(slurm.nodes) == [(results / "deep" / "er" / str(rank)).read_text() for rank in range(3)]
    assert b"" == (results / "empty").read_bytes()


def test_where_half_a_colony_is_named_the_one_before_is_not_meant(laptop: Sandbox, site: Serving) -> None:
    root = new_project(laptop, site, WHERE)
    before = laptop.cli("funcspec", cwd=root)
    half = laptop.cli("funcspec", cwd=root, env={"COLONIES_SERVER_PORT": ""})
    nothing: dict[str, str] = dict.fromkeys(("COLONIES_SERVER_HOST", "COLONIES_COLONY_NAME"), "")
    none = laptop.cli("funcspec", cwd=root, env=nothing)

    assert [0, 2, 0] == [each.returncode for each in (before, half, none)]
    assert b"COLONIES_SERVER_PORT is not set" in half.stderr
    assert b"there is no colony" in half.stderr
    assert before.stdout == none.stdout


def test_with_all_killed_and_the_server_away_it_is_one_job_and_all_of_it_comes_home(
    laptop: Sandbox, site: Serving, slurm: Slurm, tmp_path: Path
) -> None:
    root, before = new_project(laptop, site, LONG.format(folder=str(tmp_path))), jobs(slurm)
    with laptop.start_cli("run", "--follow", cwd=root) as run:
        assert run.stdout is not None
        first = run.stdout.readline()
        with site.site.stopped():
            site.restart(ON_THE_HOST)
            laptop.kill_daemon()
            executors = laptop.pids_of("pollinator.executors.main")
            for pid in executors:
                os.kill(pid, signal.SIGKILL)
            (tmp_path / "go").touch()
            missed = site.log.read_text().count("no work from colony")
            wait_until(lambda: site.log.read_text().count("no work from colony") > missed + 2, "it is missed")
        rest, messages = run.communicate(timeout=120)

    assert 7 == run.returncode, messages
    assert executors
    assert "".join([*(f"line {line}\n" for line in range(60)), "done\n"]).encode() == first + rest
    assert jobs(slurm) - before == set((tmp_path / "jobs").read_text().split())
    assert 1 == len(jobs(slurm) - before)
    assert "42" == (root / "cfs" / "result" / "answer").read_text()
