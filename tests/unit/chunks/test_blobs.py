"""A peer that has gone wrong costs neither memory nor time without end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from pollinator.chunks import blobs
from pollinator.chunks.blobs import BLOCK_BYTES
from pollinator.chunks.folder import FolderStore
from pollinator.wire.errors import Corrupt
from support.peer import Peer

KEY = f"p/00/{'0' * 64}"
SENT_BYTES = 64 * BLOCK_BYTES


class Generous(FolderStore):
    """Gives the same, whatever was asked for."""

    def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        return bytes(SENT_BYTES)


class GenerousPeer(Peer):
    def store(self, project: str) -> FolderStore:
        return Generous(self.folder / "store" / project)


@pytest.fixture
def generous(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    peer = GenerousPeer(tmp_path_factory.mktemp("peer"))
    yield peer
    peer.stop()


@pytest.mark.parametrize("length", [1, SENT_BYTES - 1])
def test_a_peer_that_sends_more_than_was_asked_for_is_refused(generous: Peer, length: int) -> None:
    with closing(generous.open("demo")) as store:
        with pytest.raises(Corrupt) as caught:
            store.get(KEY, 0, length)

        assert KEY in caught.value.message
        assert (1, 0) == (store.requests, store.received.total)


def test_a_peer_that_sends_an_object_without_end_is_refused(
    generous: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blobs, "MAX_OBJECT_BYTES", 3 * BLOCK_BYTES)
    with closing(generous.open("demo")) as store, pytest.raises(Corrupt):
        store.get(KEY)


def test_a_peer_that_sends_all_that_was_asked_for_is_believed(generous: Peer) -> None:
    with closing(generous.open("demo")) as store:
        assert bytes(SENT_BYTES) == store.get(KEY, 0, SENT_BYTES) == store.get(KEY)
