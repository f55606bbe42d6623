"""A connection to a port of a pod, through the API server of its cluster: a websocket with two channels.

One carries bytes, the other what went wrong; the first message on each repeats the port. Nobody can end one
direction alone: a connection that carries TLS needs no such thing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pollinator.wire.errors import Unavailable

if TYPE_CHECKING:
    import aiohttp

PROTOCOL = "v4.channel.k8s.io"
HEARTBEAT_S = 30.0
"""How often somebody is asked for a sign of life: what is between here and there forgets idle connections."""
WORDS = {
    403: "ports of pods may not be forwarded: that takes the verbs get and create of pods/portforward",
    404: "there is no such pod",
}
"""What it means when the server refuses."""
BLOCK = 32 * 1024
_DATA, _ERROR = 0, 1
_PORT_BYTES = 2


class Forwarding:
    """One connection. Ends with the pod, the server, or the line to it."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, what: str) -> None:
        self._socket = socket
        self._what = what
        self._greeted = set[int]()

    async def read(self) -> bytes:
        """What comes next; empty at the end.

        Raises:
            Unavailable: the port cannot be reached.
        """
        async for message in self._socket:
            data = message.data
            if not isinstance(data, bytes) or not data:
                continue
            channel, data = data[0], data[1:]
            if channel not in self._greeted:
                self._greeted.add(channel)
                data = data[_PORT_BYTES:]
            if channel == _ERROR and data:
                raise Unavailable(
                    f"{self._what} cannot be reached: {data.decode('utf-8', 'replace').strip()[:500]}",
                    reason="kubernetes_forward",
                )
            if channel == _DATA and data:
                return data
        return b""

    async def write(self, data: bytes) -> None:
        """Send; waits for who reads slowly.

        Raises:
            ConnectionError: it has ended.
        """
        for begin in range(0, len(data), BLOCK):
            await self._socket.send_bytes(bytes((_DATA,)) + data[begin : begin + BLOCK])

    async def close(self) -> None:
        """End it."""
        await self._socket.close()
