"""What is asked of a pod besides the object: its log, a port of it, and that it goes."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from aiohttp import web

from support.kubernetes.asked import Asked
from support.kubernetes.deleting import delete
from support.kubernetes.forwarding import forward
from support.kubernetes.kinds import BUDGET, POD, Obj, list_of, part
from support.kubernetes.nodes import disrupted
from support.kubernetes.refusals import Refusal, bad_request
from support.kubernetes.selecting import matches
from support.kubernetes.world import World

_LOOK_S = 0.05
_AT_ONCE = 1 << 16


class PodRequests:
    """Answers them."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def answer(self, request: web.Request, asked: Asked, body: Any) -> web.StreamResponse:
        """The answer to one of them.

        Raises:
            Refusal: there is no such pod, or it cannot be done.
        """
        pod = self._world.store.get(POD, asked.namespace, asked.name)
        if asked.sub == "log":
            return await self._log(request, pod)
        if asked.sub == "portforward":
            return await forward(request, pod)
        return self._evict(pod, body)

    def _evict(self, pod: Obj, body: Obj) -> web.Response:
        if pod["status"].get("phase") == "Running" and (budget := self._budget(pod)):
            message = "Cannot evict pod as it would violate the pod's disruption budget."
            cause = {
                "reason": "DisruptionBudget",
                "message": f"The disruption budget {budget} needs more healthy pods",
            }
            raise Refusal(429, "TooManyRequests", message, {"causes": [cause]})
        store = self._world.store
        marked = store.change(
            POD, pod, lambda fresh: disrupted(fresh, "EvictionByEvictionAPI", "Eviction API: evicting")
        )
        if marked is not None:
            delete(store, POD, marked, part(body, "deleteOptions"))
        done: Obj = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}
        return web.json_response(done, status=201)

    def _budget(self, pod: Obj) -> str:
        """The budget that does not let it go."""
        labels = part(pod["metadata"], "labels")
        for each in self._world.store.all(BUDGET, pod["metadata"]["namespace"]):
            if (
                matches(each["spec"].get("selector"), labels)
                and str(each["spec"].get("maxUnavailable", "")) == "0"
            ):
                return str(each["metadata"]["name"])
        return ""

    # Logs

    async def _log(self, request: web.Request, pod: Obj) -> web.StreamResponse:
        name = _container(pod, request.query.get("container", ""))
        row = _row(pod, name)
        if "waiting" in row.get("state", {"waiting": {}}) and not row.get("lastState"):
            reason = part(row, "state").get("waiting", {}).get("reason", "ContainerCreating")
            why = f'container "{name}" in pod "{pod["metadata"]["name"]}" is waiting to start: {reason}'
            raise bad_request(why)
        path = self._world.log_of(pod["metadata"]["uid"], name)
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(request)
        left = int(request.query.get("limitBytes") or 0) or 1 << 62
        since = (row.get("state", {}).get("running") or part(row.get("state", {}), "terminated")).get(
            "startedAt", ""
        )
        stamp = f"{since} " if request.query.get("timestamps") == "true" else ""
        at = _from(path, int(request.query.get("tailLines") or -1))
        follows = request.query.get("follow") == "true"
        while True:
            ended = not follows or self._ended(pod, name)
            while left > 0 and (data := await asyncio.to_thread(_read, path, at, min(left, _AT_ONCE))):
                at += len(data)
                left -= len(data)
                text = (
                    b"".join(stamp.encode() + line for line in data.splitlines(keepends=True))
                    if stamp
                    else data
                )
                await response.write(text)
            if ended or left <= 0:
                return response
            await asyncio.sleep(_LOOK_S)

    def _ended(self, pod: Obj, name: str) -> bool:
        found = self._world.store.find(POD, pod["metadata"]["namespace"], pod["metadata"]["name"])
        return found is None or "terminated" in _row(found, name).get("state", {})


def _container(pod: Obj, name: str) -> str:
    every = [*pod["spec"]["containers"], *list_of(pod["spec"], "initContainers")]
    names = [each["name"] for each in every]
    if not name:
        if len(pod["spec"]["containers"]) > 1:
            where = f"for pod {pod['metadata']['name']}, choose one of: {names}"
            raise bad_request(f"a container name must be specified {where}")
        return str(names[0])
    if name not in names:
        raise bad_request(f"container {name} is not valid for pod {pod['metadata']['name']}")
    return name


def _row(pod: Obj, name: str) -> Obj:
    status = part(pod, "status")
    rows = [*list_of(status, "containerStatuses"), *list_of(status, "initContainerStatuses")]
    return next((each for each in rows if each["name"] == name), Obj())


def _from(path: Path, lines: int) -> int:
    """Where the last so many lines begin."""
    if lines < 0:
        return 0
    data = path.read_bytes() if path.exists() else b""
    kept = data.splitlines(keepends=True)[max(0, len(data.splitlines()) - lines) :]
    return len(data) - sum(len(each) for each in kept)


def _read(path: Path, at: int, most: int) -> bytes:
    with suppress(FileNotFoundError), path.open("rb") as file:
        file.seek(at, os.SEEK_SET)
        return file.read(most)
    return b""
