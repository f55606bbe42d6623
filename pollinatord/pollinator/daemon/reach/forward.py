"""A socket here whose connections lead to a port of a pod: of the one that runs now, whichever that is.

What is carried is TLS, of which nothing is known here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pollinator.daemon.reach.listener import Listener
from pollinator.wire import cluster_refusals
from pollinator.wire.cluster import Cluster
from pollinator.wire.documents import Entry, as_entries, as_entry
from pollinator.wire.errors import InvalidInput, PollinatorError, Unavailable
from pollinator.wire.forwarding import Forwarding

PORT = 7443
"""Where an executor listens, unless its pod has a port of this name."""
PORT_NAME = "executor"
PAUSE_S = 1.0
"""So long after a failure the cluster is not asked again: a channel tries twice a second."""
BLOCK = 64 * 1024
_WORDS = 300
_STARTING = ("PodInitializing", "ContainerCreating")

Pod = Mapping[str, Any]


class Forward:
    """The socket. Its connections end with the pod, and the next one leads to the pod of then.

    Args:
        socket: where to listen.
        cluster: where the pod is.
        selector: labels of it.
    """

    def __init__(self, socket: Path, cluster: Cluster, selector: str) -> None:
        self._socket = socket
        self._cluster = cluster
        self._selector = selector
        self._listener = Listener(socket, self._carry, self._note)
        self._failed_s = 0.0
        self.trouble: PollinatorError | None = None
        """What went wrong last, if that is so still."""

    async def listen(self) -> None:
        """Take connections, unless that is done already."""
        await self._listener.open()

    async def find(self) -> Pod:
        """The pod of the executor.

        Raises:
            Unavailable: there is none that can be used, and why.
            PollinatorError: the cluster does not say.
        """
        await self._cluster.open()
        path = f"/api/v1/namespaces/{self._cluster.namespace}/pods"
        query = {"labelSelector": self._selector}
        answer = as_entry(await self._cluster.request("GET", path, query=query))
        pods = as_entries(answer.get("items"))
        if "items" not in answer or not all(map(_name, pods)):
            raise cluster_refusals.garbled(self._cluster.server)
        return chosen(pods, self._cluster.namespace, self._selector)

    async def close(self) -> None:
        """End all connections."""
        await self._listener.close()
        self._socket.unlink(missing_ok=True)

    def _note(self, error: PollinatorError) -> None:
        self.trouble, self._failed_s = error, time.monotonic()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.trouble is not None and time.monotonic() < self._failed_s + PAUSE_S:
            raise self.trouble.with_traceback(None)
        pod = await self.find()
        forwarding = await self._cluster.forward(_name(pod), port_of(pod))
        self.trouble = None
        try:
            await _both_ways(forwarding, reader, writer)
        finally:
            await forwarding.close()


async def _both_ways(
    forwarding: Forwarding, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Carry until either side ends."""
    failed: PollinatorError | None = None

    async def here_to_there() -> None:
        while data := await reader.read(BLOCK):
            await forwarding.write(data)

    async def there_to_here() -> None:
        nonlocal failed
        try:
            while data := await forwarding.read():
                writer.write(data)
                await writer.drain()
        except PollinatorError as error:
            failed = error

    try:
        async with asyncio.TaskGroup() as group:
            ways = [
                group.create_task(here_to_there(), name="to a pod"),
                group.create_task(there_to_here(), name="from a pod"),
            ]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for each in ways:
                each.cancel()
    except* OSError:
        # An end as good as any.
        pass
    if failed is not None:
        raise failed


def chosen(pods: Sequence[Pod], namespace: str, selector: str) -> Pod:
    """The pod to use among those with the labels: the newest that is ready, or else that runs.

    Raises:
        InvalidInput: they are of several executors.
        Unavailable: none can be used.
    """
    there = [each for each in pods if not _about(each).get("deletionTimestamp")]
    instances = {_label(each, "app.kubernetes.io/instance") for each in there}
    if len(instances) > 1:
        raise InvalidInput(
            f"there are several executors in namespace {namespace}: {', '.join(sorted(instances))}",
            reason="executor_ambiguous",
            hint="say which: --set kube.selector=app.kubernetes.io/instance=NAME",
        )
    running = [each for each in there if _status(each).get("phase") == "Running"]
    if not running:
        raise _none(pods, there, namespace, selector)
    return max(running, key=lambda each: (is_ready(each), str(_about(each).get("creationTimestamp"))))


def port_of(pod: Pod) -> int:
    """Where the executor in a pod listens."""
    for container in as_entries(as_entry(pod.get("spec")).get("containers")):
        for port in as_entries(container.get("ports")):
            number = port.get("containerPort")
            if port.get("name") == PORT_NAME and isinstance(number, int):
                return number
    return PORT


def is_ready(pod: Pod) -> bool:
    """Its probes say so."""
    conditions = as_entries(_status(pod).get("conditions"))
    return any(each.get("type") == "Ready" and each.get("status") == "True" for each in conditions)


def _none(pods: Sequence[Pod], there: Sequence[Pod], namespace: str, selector: str) -> Unavailable:
    if not there:
        ending = " but one that is just ending" if pods else ""
        return Unavailable(
            f"there is no pod with {selector} in namespace {namespace}{ending}",
            reason="executor_down",
            hint="install the executor there: docs/kubernetes.md",
        )
    pod = there[0]
    name, why = _name(pod), _why(pod)
    hint = f"kubectl --namespace {namespace} describe pod {name}"
    if why in _STARTING:
        hint = f"it is just starting: pollinator executors connect, in a moment; {hint}"
    return Unavailable(f"the executor's pod {name} does not run: {why}", reason="executor_down", hint=hint)


def _why(pod: Pod) -> str:
    """In the words of whoever keeps it from running."""
    status = _status(pod)
    containers = [as_entries(status.get(each)) for each in ("initContainerStatuses", "containerStatuses")]
    for container in (*containers[0], *containers[1]):
        waiting = as_entry(as_entry(container.get("state")).get("waiting"))
        if waiting.get("reason"):
            return f"{waiting['reason']} {waiting.get('message', '')}".strip()[:_WORDS]
    for condition in as_entries(status.get("conditions")):
        if condition.get("status") == "False" and condition.get("message"):
            return str(condition["message"])[:_WORDS]
    return f"{status.get('phase', 'Unknown')} {status.get('message', '')}".strip()[:_WORDS]


def _status(pod: Pod) -> Entry:
    return as_entry(pod.get("status"))


def _label(pod: Pod, name: str) -> str:
    return str(as_entry(_about(pod).get("labels")).get(name, ""))


def _name(pod: Pod) -> str:
    return str(_about(pod).get("name") or "")


def _about(pod: Pod) -> Entry:
    return as_entry(pod.get("metadata"))
