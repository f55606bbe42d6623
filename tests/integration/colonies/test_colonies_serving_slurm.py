"""A Slurm cluster that serves a colony."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.colonies.sites import Site
from support.colony_site import Serving, serving
from support.sandbox import wait_until
from support.slurm import Slurm

pytestmark = pytest.mark.integration

RUNNING, SUCCESS, FAILED, CANCELLED = range(1, 5)


@pytest.fixture(scope="module")
def site(colony: Site, slurm: Slurm) -> Iterator[Serving]:
    with serving(colony, "slurm", "containers.engines=none", **slurm.env) as there:
        yield there
    slurm.clear()


def test_a_process_runs_on_as_many_nodes_as_it_asks_for(site: Serving) -> None:
    process_id = site.submit(
        'echo "$POLLINATOR_NODE_RANK of $POLLINATOR_NNODES"', conditions=site.conditions(nodes=3)
    )

    ended = site.ended(process_id, 60)

    assert ended["state"] == SUCCESS, ended["errors"]
    assert ["0 of 3", "1 of 3", "2 of 3"] == sorted(site.printed(process_id).splitlines())
    assert 3 == len(site.attributes(process_id)["NODES"].split(","))


def test_a_queue_that_is_longer_than_a_process_may_take_leads_to_one_job(
    site: Serving, slurm: Slurm, tmp_path: Path
) -> None:
    for node in slurm.nodes:
        slurm.set_node(node, "drain")
    process_id = site.submit(f"echo run >> {tmp_path}/runs; echo done", maxexectime=2, maxretries=-1)
    wait_until(lambda: len(site.site.double.assignments(process_id)) > 2, "it is given out again and again")

    for node in slurm.nodes:
        slurm.set_node(node, "resume")

    assert site.ended(process_id, 60)["state"] == SUCCESS
    assert ("run\n", "done\n") == ((tmp_path / "runs").read_text(), site.printed(process_id))


def test_cancelling_a_process_ends_its_job(site: Serving, tmp_path: Path) -> None:
    process_id = site.submit(f"echo up; sleep 600; touch {tmp_path}/ran")
    wait_until(lambda: "up" in site.printed(process_id), "it runs", 60)

    site.ask("cancelprocessmsg", processid=process_id)

    wait_until(lambda: f"{process_id}.json" not in site.in_hand(), "its job is ended", 60)
    assert site.process(process_id)["state"] == CANCELLED
