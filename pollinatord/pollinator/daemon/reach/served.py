"""An executor at a Unix socket of this machine that somebody else serves."""

from __future__ import annotations

from pathlib import Path

import grpc

from pollinator.daemon.reach.transport import Peer, Place, Tell
from pollinator.wire.channel import open_blocking_channel, open_channel
from pollinator.wire.errors import Unavailable


class AtSocket:
    """What is the same for whoever listens at a Unix socket of this machine."""

    def __init__(self, place: Place, socket: Path) -> None:
        self._place = place
        self._socket = socket

    def open(self) -> grpc.aio.Channel:
        """A channel to the socket."""
        return open_channel(f"unix:{self._socket}")

    def open_blocking(self) -> grpc.Channel:
        """The same for threads."""
        return open_blocking_channel(f"unix:{self._socket}")

    def may_answer(self) -> bool:
        """There is a socket."""
        return self._socket.exists()

    def login(self) -> list[str]:
        """Nobody has to."""
        return []

    def hurry(self) -> None:
        """Nothing is put off."""

    def configure(self, place: Place) -> None:
        """Whoever serves it has given it its settings."""


class Served(AtSocket):
    """A socket; who starts and ends what listens there is not our concern."""

    near = False
    trusted = False
    owned = False
    idle = "nobody has answered there yet"

    async def ensure(self, peer: Peer, tell: Tell) -> None:
        """Ask whether somebody is there.

        Raises:
            Unavailable: nobody is.
        """
        tell(f"asking at {self._socket}")
        if await peer.ask() is None:
            raise Unavailable(
                f"executor {self._place.name} does not answer at {self._socket}",
                reason="executor_down",
                hint=f"start it: pollinator-executor KIND --socket {self._socket} --state DIR",
            )

    async def remove(self, *, busy: bool) -> str:
        """It is somebody else's."""
        return ""

    async def close(self) -> None:
        """Nothing is held."""
