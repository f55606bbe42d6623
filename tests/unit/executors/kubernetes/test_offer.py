"""What the machines of a cluster offer is asked for seldom, but not held for unknown once it may be known."""

from __future__ import annotations

import asyncio

import pytest

from pollinator.executors.kubernetes import offer
from pollinator.executors.kubernetes.api import Api
from pollinator.executors.kubernetes.data import Manifest
from pollinator.executors.kubernetes.offer import Offer
from pollinator.executors.kubernetes.settings import Site
from pollinator.wire.errors import Denied
from support.scripted_executor import until

NODE: Manifest = {
    "metadata": {"name": "n1"},
    "spec": {},
    "status": {
        "allocatable": {"cpu": "2", "memory": "4Gi"},
        "conditions": [{"type": "Ready", "status": "True"}],
    },
}


class Guarded(Api):
    """An API that tells of its nodes only once the right to see them was given."""

    def __init__(self) -> None:
        self.given = False
        self.times = 0

    async def version(self) -> str:
        return "v1.31.0"

    async def nodes(self) -> list[Manifest]:
        self.times += 1
        if not self.given:
            raise Denied("nodes is forbidden", reason="denied")
        return [NODE]


async def test_nodes_are_seen_soon_after_the_right_to_see_them_is_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(offer, "AGAIN_S", 0.05)
    api = Guarded()
    offered = Offer(api, Site())
    async with asyncio.TaskGroup() as group:
        running = group.create_task(offered.run())
        await until(lambda: offered.machines is None, "they are not to be seen")
        api.given = True
        await until(lambda: bool(offered.machines), "they are seen")
        asked = api.times
        await asyncio.sleep(0.2)
        running.cancel()

    assert 2000 == offered.capabilities().cpu_millis
    assert asked == api.times
