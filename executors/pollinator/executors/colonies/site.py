"""``pollinator-executor KIND --colonies``: what serves a colony beside the executor that does the work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pollinator.chunks.folder import FolderStore
from pollinator.executors.base import check_settings
from pollinator.executors.colonies.broker import Broker, Pace
from pollinator.executors.colonies.client import Client
from pollinator.executors.colonies.errands import Errands
from pollinator.executors.colonies.membership import Membership, membership_from_environment
from pollinator.executors.colonies.serving import Desk
from pollinator.executors.colonies.staging import ColonyStaging
from pollinator.executors.colonies.targets import IN_IMAGES, ON_HOST
from pollinator.v1.executor_pb2 import Capabilities
from pollinator.v1.run_pb2_grpc import RunServiceStub
from pollinator.wire.channel import open_channel
from pollinator.wire.errors import InvalidInput, Violation
from pollinator.wire.places import private_dir

SETTINGS = "colonies."
"""Settings that begin so are ours, the others those of the executor."""
MOST_OF_A_CLUSTER = 100
"""A batch system has a queue of its own."""
LOOK_S = 1.0
LOOKS_A_SECOND = 20.0
"""At processes in hand, however many there are."""


@dataclass(frozen=True, slots=True)
class Site:
    """What is served, and how."""

    folder: Path
    member: Membership
    most: int
    """So many processes at once; 0 is what the executor can do."""
    pace: Pace

    async def serve(
        self, address: str, own: Callable[[str], FolderStore], can: Callable[[], Capabilities]
    ) -> None:
        """Serve until cancelled.

        Args:
            address: of the executor that runs what comes.
            own: its stores, by project.
            can: its limits, as they are now.
        """

        def runs_in() -> str:
            return IN_IMAGES if can().container_engines else ON_HOST

        member = replace(self.member, runs_in=runs_in)
        most = self.most or _most(can())
        client = Client(self.member.colony)
        staging = ColonyStaging(client, self.member.colony.files, self.folder, own)
        try:
            async with open_channel(address) as channel:
                errands = Errands(self.folder / "processes")
                broker: Broker
                desk = Desk(
                    client,
                    RunServiceStub(channel),
                    errands,
                    staging,
                    asyncio.Semaphore(most),
                    lambda: max(LOOK_S, broker.count / LOOKS_A_SECOND),
                )
                broker = Broker(desk, member, most, self.pace)
                await broker.serve()
        finally:
            staging.close()
            await client.close()


def _most(can: Capabilities) -> int:
    # Only a batch system may not know yet what it has.
    is_cluster = can.HasField("cluster") or not can.cpu_millis
    return MOST_OF_A_CLUSTER if is_cluster else max(1, can.cpu_millis // 1000)


def site_from_environment(environ: Mapping[str, str], folder: Path, settings: Mapping[str, str]) -> Site:
    """What ``COLONIES_*``, ``AWS_S3_*`` and the settings say.

    Args:
        environ: variables.
        folder: where what is in hand is kept, and the key of this executor.
        settings: those that begin with ``SETTINGS``.

    Raises:
        InvalidInput: something is missing or cannot be meant.
    """
    known = (f"{SETTINGS}processes", f"{SETTINGS}beat")
    check_settings(settings, known)
    numbers = {name: _number(name, settings[name]) for name in known if name in settings}
    most, beat = (numbers.get(name, 0) for name in known)
    pace = replace(Pace(), wait_s=beat, full_s=beat) if beat else Pace()
    return Site(folder, membership_from_environment(environ, private_dir(folder)), most, pace)


def _number(name: str, text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 100_000:
        raise InvalidInput(
            "a setting cannot be meant",
            reason="bad_settings",
            violations=[Violation(name, f"write a number from 1 on, not {text!r}")],
        )
    return int(text)
