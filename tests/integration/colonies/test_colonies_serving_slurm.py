"""A Slurm cluster that serves a colony."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.colonies.sites import Site
from support.colony_site import Serving, serving
from support.sandbox import wait_until
from support.slurm import Slurm

# A cluster on a busy machine is asked seldom.
pytestmark = [pytest.mark.integration, pytest.mark.timeout(200)]

LONG_S = 150
RUNNING, SUCCESS, FAILED, CANCELLED = range(1, 5)


@pytest.fixture(scope="module")
def site(colony: Site, slurm: Slurm) -> Iterator[Serving]:
    with serving(colony, "slurm", "containers.engines=none", **slurm.env) as there:
        yield there
    slurm.clear()


def test_a_process_runs_on_as_many_nodes_as_it_asks_for(site: Serving, slurm: Slurm) -> None:
    process_id = site.submit(
        'echo "$POLLINATOR_NODE_RANK of $POLLINATOR_NNODES"', conditions=site.conditions(nodes=3)
    )

    ended = site.ended(process_id, LONG_S)

    assert ended["state"] == SUCCESS, ended["errors"]
    assert ["0 of 3", "1 of 3", "2 of 3"] == sorted(site.printed(process_id).splitlines())
    assert ",".join(slurm.nodes) == site.attributes(process_id)["NODES"]


def test_a_queue_that_is_longer_than_a_process_may_take_leads_to_one_job(
    site: Serving, slurm: Slurm, tmp_path: Path
) -> None:
    with full(slurm):
        process_id = site.submit(
            f"echo $SLURM_JOB_ID >> {tmp_path}/runs; echo done",
            maxexectime=3,
            maxretries=-1,
            conditions=site.conditions(walltime=4),
        )
        wait_until(lambda: site.process(process_id)["retries"] > 2, "it is given out again and again", 30)
        waiting = jobs(slurm, process_id, "PENDING")

    ended = site.ended(process_id, LONG_S)
    assert (SUCCESS, "done\n") == (ended["state"], site.printed(process_id)), ended["errors"]
    assert 1 == len(waiting)
    assert waiting == jobs(slurm, process_id, "all") == (tmp_path / "runs").read_text().split()


def jobs(slurm: Slurm, process_id: str, states: str) -> list[str]:
    """Ids of the jobs that there are for a process."""
    shown = slurm.run("squeue", "-h", "-t", states, "-o", "%A %j").splitlines()
    return [line.split()[0] for line in shown if process_id in line]


def test_cancelling_a_process_ends_its_job(site: Serving, tmp_path: Path) -> None:
    process_id = site.submit(f"echo up; sleep 600; touch {tmp_path}/ran")
    wait_until(lambda: "up" in site.printed(process_id), "it runs", LONG_S)

    site.ask("cancelprocessmsg", processid=process_id)

    wait_until(lambda: f"{process_id}.json" not in site.in_hand(), "its job is ended", LONG_S)
    assert site.process(process_id)["state"] == CANCELLED


@contextmanager
def full(slurm: Slurm) -> Generator[None]:
    """No job starts."""
    for node in slurm.nodes:
        slurm.set_node(node, "drain")
    try:
        yield
    finally:
        slurm.resume()


def job_of(slurm: Slurm, process_id: str) -> str:
    """The job of a process, once Slurm has it."""
    found: list[str] = []

    def is_there() -> bool:
        rows = [row.split() for row in slurm.run("squeue", "-ht", "all", "-o", "%A %j").splitlines()]
        found.extend(job_id for job_id, name in rows if process_id in name)
        return bool(found)

    wait_until(is_there, "it has a job", LONG_S)
    return found[0]


def test_a_controller_that_is_away_for_a_while_fails_no_process(site: Serving, slurm: Slurm) -> None:
    process_id = site.submit("echo up; sleep 6; echo done")
    wait_until(lambda: "up" in site.printed(process_id), "it runs", LONG_S)
    slurm.stop_controller()
    try:
        # Its job ends meanwhile.
        wait_until(lambda: "done" in site.printed(process_id), "it goes on", LONG_S)
        state = site.process(process_id)["state"]
    finally:
        slurm.start_controller()

    assert state in (RUNNING, SUCCESS)
    assert site.ended(process_id, LONG_S)["state"] == SUCCESS


def test_a_job_that_somebody_cancels_while_it_waits_ends_its_process(site: Serving, slurm: Slurm) -> None:
    with full(slurm):
        process_id = site.submit("echo ran")
        slurm.run("scancel", job_of(slurm, process_id))

        ended = site.ended(process_id, LONG_S)

    assert (FAILED, "") == (ended["state"], site.printed(process_id))
    assert "cancelled" in ended["errors"][0]


def test_slurm_is_asked_for_exactly_the_memory_and_the_gpus_that_a_process_asks_for(
    site: Serving, slurm: Slurm
) -> None:
    gpu = {"name": "", "mem": "", "count": 1, "nodecount": 0}
    process_id = site.submit("sleep 600", conditions=site.conditions(mem="1000Mi", gpu=gpu))
    asked = slurm.job(job_of(slurm, process_id))
    site.ask("cancelprocessmsg", processid=process_id)

    assert ("1000M", "gres:gpu:1") == (asked["MinMemoryNode"], asked["TresPerNode"])


def test_what_a_process_says_is_run_nowhere_but_in_its_job(site: Serving, tmp_path: Path) -> None:
    hostile = (
        f'$(touch {tmp_path}/a) `touch {tmp_path}/b` "; touch {tmp_path}/c; " \'; touch {tmp_path}/d\n\\'
    )
    process_id = site.submit("printf '%s' \"$V\"", env={"V": hostile})

    ended = site.ended(process_id, LONG_S)

    assert (SUCCESS, hostile) == (ended["state"], site.printed(process_id))
    assert [] == list(tmp_path.iterdir())


def test_a_cluster_that_was_never_asked_before_takes_many_processes_at_once(
    colony: Site, slurm: Slurm, tmp_path: Path
) -> None:
    with serving(colony, "slurm", "containers.engines=none", **slurm.env) as site:
        command = f"echo up; while [ ! -e {tmp_path}/go ]; do sleep 0.1; done"
        several = [site.submit(command) for _ in range(3)]

        wait_until(lambda: len(site.in_hand()) == len(several), "all are in hand")

        (tmp_path / "go").touch()
        assert [SUCCESS] * 3 == [site.ended(each, LONG_S)["state"] for each in several]
    slurm.clear()
