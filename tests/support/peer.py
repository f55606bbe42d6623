"""A BlobService on a loop and thread of its own, as an executor serves it."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from pollinator.chunks.blobs import BlobServicer, PeerStore
from pollinator.chunks.folder import FolderStore
from pollinator.chunks.keys import namespace
from pollinator.v1 import store_pb2_grpc
from pollinator.wire.serving import ErrorInterceptor, bind_unix, make_server


class Peer:
    """Lends the stores in a folder."""

    def __init__(self, folder: Path) -> None:
        self.address = f"unix:{folder}/peer.sock"
        self.folder = folder
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._wait(self._start())

    async def _start(self) -> None:
        self._server = make_server(ErrorInterceptor(logging.getLogger(__name__)))
        self._servicer = BlobServicer(self.store)
        store_pb2_grpc.add_BlobServiceServicer_to_server(self._servicer, self._server)
        bind_unix(self._server, self.folder / "peer.sock")
        await self._server.start()

    def store(self, project: str) -> FolderStore:
        """What it lends."""
        return FolderStore(self.folder / "store" / namespace(project))

    def open(self, project: str) -> PeerStore:
        """The same over the wire."""
        return PeerStore(grpc.insecure_channel(self.address), project, self.address, pause_s=0.001)

    def stop(self) -> None:
        """Answer nobody any more."""
        self._wait(self._server.stop(0))
        self._servicer.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _wait(self, work: object) -> None:
        assert asyncio.iscoroutine(work)
        asyncio.run_coroutine_threadsafe(work, self._loop).result(20)


@pytest.fixture
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    """One that lends nothing yet."""
    made = Peer(tmp_path_factory.mktemp("peer"))
    yield made
    made.stop()
