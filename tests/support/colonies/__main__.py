"""The double as a process: lines of JSON come in and go out, and say what to do and how it went."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict
from typing import Any

from support.colonies.faults import Fault
from support.colonies.server import Server
from support.colonies.world import Settings, World
from support.obeying import obey


class Control:
    """Does what the tests ask for."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._world = server.world

    async def start(self) -> int:
        await self._server.start()
        return self._server.port

    async def stop(self) -> None:
        await self._server.stop()

    async def settings(self, **changed: Any) -> dict[str, Any]:
        before = {name: getattr(self._world.settings, name) for name in changed}
        for name, value in changed.items():
            setattr(self._world.settings, name, value)
        return before

    async def fault(self, **described: Any) -> None:
        self._server.faults.append(Fault(**described))

    async def hits(self) -> list[int]:
        return [each.hit for each in self._server.faults]

    async def clear_faults(self) -> None:
        self._server.faults.clear()

    async def asked(self, since: int) -> list[dict[str, str]]:
        return [asdict(each) for each in self._server.asked[since:]]

    async def assignments(self) -> list[tuple[str, str, int]]:
        return self._world.assignments

    async def processes(self, colony: str) -> list[Any]:
        return [self._world.shown(each) for each in self._world.processes.values() if each.colony == colony]

    async def logs(self, process_id: str) -> list[str]:
        return [each.message for each in self._world.logs if each.process_id == process_id]

    async def files(self, colony: str) -> list[Any]:
        return [each for each in self._world.files.values() if each["colonyname"] == colony]

    async def snapshots(self, colony: str) -> list[Any]:
        return [each for each in self._world.snapshots.values() if each["colonyname"] == colony]

    async def executors(self, colony: str) -> list[Any]:
        found = [each for each in self._world.executors.values() if each.colony == colony]
        return [self._world.shown_executor(each) for each in found]


async def _serve(settings: Settings) -> None:
    control = Control(Server(World(settings)))
    await obey(control)
    await control.stop()


if __name__ == "__main__":
    asyncio.run(_serve(Settings(**json.loads(sys.argv[1]))))
