"""A private socket of this machine, each of whose connections is carried further by a task."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from pollinator.wire.errors import PollinatorError
from pollinator.wire.places import private_dir


class Listener:
    """The socket.

    Args:
        path: where it is.
        carry: carries one connection to its end.
        failed: told why one could not be carried.
    """

    def __init__(
        self,
        path: Path,
        carry: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
        failed: Callable[[PollinatorError], None],
    ) -> None:
        self._path = path
        self._carry = carry
        self._failed = failed
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def listens(self) -> bool:
        """It was opened."""
        return self._server is not None

    async def open(self) -> None:
        """Take connections, unless that is done already."""
        if self._server is None:
            private_dir(self._path.parent)
            self._path.unlink(missing_ok=True)
            self._server = await asyncio.start_unix_server(self._connected, self._path)
            self._path.chmod(0o600)

    async def close(self) -> None:
        """End all connections."""
        if self._server is not None:
            self._server.close()
        for each in self._connections:
            each.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            await self._carry(reader, writer)
        except PollinatorError as error:
            self._failed(error)
        except asyncio.CancelledError:
            # Told by ``close``; asyncio would log that nobody waits for it.
            pass
        finally:
            self._connections.discard(task)
            writer.close()
