"""Runs in queues of Kueue: they wait for their turn, and say whose turn it is before theirs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from support.kubernetes.kueue import QUEUE
from support.kubernetes.sites import Site
from support.kubernetes_runs import ended, executor_in, explained, nothing_left

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]


@pytest.fixture
def queues(cluster: Site) -> Iterator[Site]:
    """Two queues that share their quota, of which there is none."""
    with cluster.double.settings(kueue=True, admits=False):
        for name in ("team", "night"):
            cluster.create(
                {
                    "apiVersion": "kueue.x-k8s.io/v1beta1",
                    "kind": "LocalQueue",
                    "metadata": {"name": name},
                    "spec": {"clusterQueue": "all"},
                }
            )
        yield cluster


@pytest.mark.double_only("has Kueue when it is told to")
async def test_a_run_in_a_queue_waits_for_its_turn_and_says_which_it_is(queues: Site) -> None:
    async with executor_in(queues, {"kubernetes.queue": "team"}) as executor:
        first = await executor.begin("print('first')")
        told = await explained(executor, first.id, "kueue", "number 1 of 1")
        between = await executor.begin("print('between')", kubernetes={"queue": "night"})
        await explained(executor, between.id, "kueue", "number 1 of 1 in the queue, number 2 of all")
        last = await executor.begin("print('last')")
        await explained(executor, last.id, "kueue", "number 2 of 2 in the queue, number 3 of all")
        labels = [each["metadata"]["labels"][QUEUE] for each in await asyncio.to_thread(queues.all, "jobs")]
        with queues.double.settings(kueue=True, admits=True):
            ends = [await executor.follow(each.id) for each in (first, between, last)]

    assert "insufficient unused quota for cpu" in told
    assert ["night", "team", "team"] == sorted(labels)
    assert [{0: b"first\n"}, {0: b"between\n"}, {0: b"last\n"}] == [each.output for each in ends]


@pytest.mark.double_only("has Kueue when it is told to")
async def test_a_run_in_a_queue_that_nobody_may_look_at_says_why_it_waits_all_the_same(queues: Site) -> None:
    queues.double.fault("refuse", "get", "localqueues", code=403, times=0)
    async with executor_in(queues, {"kubernetes.queue": "team"}) as executor:
        run = await executor.begin("print('ran')")
        told = await explained(executor, run.id, "kueue", "insufficient unused quota")
        await executor.cancel(run.id)

    assert "in the queue" not in told
    # Not at each look; again after a minute.
    assert queues.double.hits()[0] <= 2


async def test_a_run_that_is_cancelled_in_a_queue_is_over(cluster: Site) -> None:
    async with executor_in(cluster, {"kubernetes.queue": "of-nobody"}) as executor:
        run = await executor.begin("print('ran')")
        async with asyncio.timeout(60):
            while not await asyncio.to_thread(cluster.all, "jobs"):  # noqa: ASYNC110 - far away
                await asyncio.sleep(0.05)
        await executor.cancel(run.id)
        followed = await executor.follow(run.id)

    assert "CANCELLED" == ended(followed)[0]
    assert {} == followed.output
    await nothing_left(cluster)
