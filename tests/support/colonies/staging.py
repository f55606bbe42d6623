"""A user, an executor and an owner of a colony, each with our own client."""

from __future__ import annotations

from typing import Any

from pollinator.executors.colonies.client import Client
from pollinator.executors.colonies.identity import unique_id
from pollinator.executors.colonies.messages import Process, State
from support.colonies.sites import Site

CHECKSUM = "ab" * 32
NOBODY = "0" * 64
"""Identity of nobody, and of nothing."""


class Stage:
    """A user, an executor, and who owns the colony, each with a line of our own."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.kind = site.fresh("kind")
        self.worker = site.executor(kind=self.kind)
        self.user, self.executor, self.owner = (
            Client(site.seen_by(each)) for each in (site.user(), self.worker, site.owner)
        )

    def spec(self, **fields: Any) -> dict[str, Any]:
        return {
            "funcname": "execute",
            "kwargs": {"cmd": "true", "args": ["ä", "<&>"]},
            "maxwaittime": -1,
            "maxexectime": 60,
            "maxretries": 0,
            "conditions": {
                "colonyname": self.site.name,
                "executornames": [self.worker.name],
                "executortype": self.kind,
                "cpu": "1000m",
                "mem": "10Mi",
            },
            **fields,
        }

    async def running(self) -> Process:
        """A process that the executor has."""
        submitted = await self.user.submit(self.spec())
        assigned = await self.executor.assign(20)

        assert assigned is not None
        assert submitted.id == assigned.id
        return assigned

    async def ended(self, state: State) -> Process:
        """A process that ended so."""
        process = await self.running()
        match state:
            case State.SUCCESS:
                await self.executor.close_successful(process.id)
            case State.FAILED:
                await self.executor.close_failed(process.id, ["no luck"])
            case _:
                await self.user.cancel(process.id)
        return await self.user.process(process.id)


def file(stage: Stage, label: str, name: str, size: int = 3) -> dict[str, Any]:
    """A revision whose bytes are somewhere."""
    kept = {"server": "s3:9000", "port": -1, "tls": False, "accesskey": "", "secretkey": "", "region": ""}
    kept |= {"encryptionkey": "", "encryptionalg": "", "object": unique_id(), "bucket": "b"}
    return {
        "colonyname": stage.site.name,
        "label": label,
        "name": name,
        "size": size,
        "checksum": CHECKSUM,
        "checksumalg": "SHA256",
        "ref": {"protocol": "s3", "s3object": kept},
    }
