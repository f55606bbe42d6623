"""Many who follow one run at once, and one who comes and goes all the time; a process of its own.

``python -m support.crowd SOCKET RUN ROOT NUMBER`` prints one JSON object when the run has ended.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
from collections import Counter
from typing import Any

from pollinator.v1.project_pb2 import WatchProjectRequest
from pollinator.v1.project_pb2_grpc import ProjectServiceStub
from pollinator.v1.run_pb2 import ListRunsRequest, WatchRunRequest
from pollinator.v1.run_pb2_grpc import RunServiceStub
from pollinator.wire.channel import open_channel
from pollinator.wire.streams import follow_run

STREAMS_PER_CHANNEL = 4
READS = 3
"""So many messages the one who comes and goes reads before it goes."""


async def follow(stub: RunServiceStub, run_id: str) -> tuple[str, str]:
    """Everything a run prints, as a digest, and the states it goes through."""
    printed = hashlib.sha256()
    states: list[str] = []
    request = WatchRunRequest(run_id=run_id, output=True, follow=True)
    async for message in follow_run(stub, request, patience_s=10):
        if message.WhichOneof("kind") == "output":
            printed.update(message.output.data)
        elif message.event.HasField("state_changed"):
            states.append(str(message.event.state_changed.state))
    return printed.hexdigest(), " ".join(states)


async def come_and_go(address: str, run_id: str, root: str, visits: Counter[str]) -> None:
    """As an editor whose windows are opened and closed."""
    while True:
        async with open_channel(address) as channel:
            runs, projects = RunServiceStub(channel), ProjectServiceStub(channel)
            await runs.ListRuns(ListRunsRequest(root=root), timeout=10)
            await read_some(runs.WatchRun(WatchRunRequest(run_id=run_id, output=True, follow=True)))
            await read_some(projects.WatchProject(WatchProjectRequest(root=root)), 1)
        visits["visits"] += 1


async def read_some(call: Any, reads: int = READS) -> None:
    """Read a little of a stream and leave it."""
    async for _ in call:
        reads -= 1
        if not reads:
            break
    call.cancel()


async def main(socket: str, run_id: str, root: str, number: int) -> dict[str, object]:
    """Follow until the end."""
    address = f"unix:{socket}"
    channels = [open_channel(address) for _ in range(-(-number // STREAMS_PER_CHANNEL))]
    visits: Counter[str] = Counter()
    async with asyncio.TaskGroup() as group:
        visitor = group.create_task(come_and_go(address, run_id, root, visits))
        followers = [
            group.create_task(follow(RunServiceStub(channels[index // STREAMS_PER_CHANNEL]), run_id))
            for index in range(number)
        ]
        seen = Counter(await asyncio.gather(*followers))
        visitor.cancel()
    for channel in channels:
        await channel.close()
    return {"visits": visits["visits"], "seen": [[*what, count] for what, count in seen.items()]}


if __name__ == "__main__":
    _, its_socket, its_run, its_root, how_many = sys.argv
    sys.stdout.write(json.dumps(asyncio.run(main(its_socket, its_run, its_root, int(how_many)))))
