"""Sending chunks in packs."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from pollinator.chunks.digest import digest_of
from pollinator.chunks.pack import parse_footer, verify
from pollinator.chunks.upload import Uploader
from pollinator.executors.conformance.trees import random_bytes
from pollinator.v1.tree_pb2 import PackIndex, Snapshot
from pollinator.wire.errors import Unavailable
from support.sandbox import wait_until
from support.storing import MemoryStore

FAILURE = Unavailable("the store is away", reason="store_busy")


class Sent:
    """An uploader with small packs, and the rows it acknowledged."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.rows: list[PackIndex] = []
        self.threads: set[int] = set()
        self.uploader = Uploader(self.store, on_stored=self._stored, workers=2, pack_bytes=10_000)

    def _stored(self, row: PackIndex) -> None:
        assert row.key in self.store.objects, "acknowledged before it was stored"
        self.threads.add(threading.get_ident())
        self.rows.append(row)

    def add(self, *seeds: int, size: int = 4000) -> list[bytes]:
        digests: list[bytes] = []
        for seed in seeds:
            data = random_bytes(size, b"%d" % seed)
            digests.append(digest_of(data))
            self.uploader.add(digests[-1], data)
        return digests

    @property
    def acknowledged(self) -> set[bytes]:
        return {entry.digest for row in self.rows for entry in row.entries}


@pytest.fixture
def sent() -> Iterator[Sent]:
    made = Sent()
    yield made
    made.uploader.close()


def test_chunks_are_sent_in_packs_when_these_are_full(sent: Sent) -> None:
    digests = sent.add(1, 2, 3)
    sent.uploader.settle()

    assert len(sent.store.puts) == 1
    assert sent.acknowledged == set(digests)
    verify(sent.rows[0].key, sent.store.objects[sent.rows[0].key])


def test_a_pack_that_is_not_full_waits(sent: Sent) -> None:
    (digest,) = sent.add(1)
    sent.uploader.settle()

    assert sent.store.puts == []
    assert sent.uploader.pending(digest)
    assert sent.uploader.open_bytes > 4000


def test_flush_sends_what_waits(sent: Sent) -> None:
    (digest,) = sent.add(1)
    sent.uploader.flush()

    assert sent.acknowledged == {digest}
    assert not sent.uploader.pending(digest)
    assert sent.uploader.open_bytes == 0


def test_the_same_chunk_is_sent_once(sent: Sent) -> None:
    sent.add(1, 1, 1)
    sent.uploader.flush()

    assert len(sent.rows[0].entries) == 1


def test_acknowledgements_come_on_the_owners_thread(sent: Sent) -> None:
    sent.add(*range(30))
    sent.uploader.flush()

    assert sent.threads == {threading.get_ident()}


def test_a_chunk_is_pending_until_its_pack_is_acknowledged(sent: Sent) -> None:
    sent.store.gate = threading.Event()
    digests = sent.add(1, 2, 3)
    sent.uploader.reap()

    assert all(sent.uploader.pending(digest) for digest in digests)
    assert sent.uploader.open_bytes == 0
    assert sent.uploader.unsent_bytes > 12_000
    assert sent.rows == []
    sent.store.gate.set()
    sent.uploader.settle()
    assert not any(sent.uploader.pending(digest) for digest in digests)
    assert sent.uploader.unsent_bytes == 0


def test_memory_is_bounded_while_the_store_is_slow(sent: Sent) -> None:
    """With all workers busy and another pack waiting, the next full pack makes ``add`` wait."""
    sent.store.gate = threading.Event()
    release = threading.Timer(0.05, sent.store.gate.set)
    sent.add(*range(9))
    blocked = len(sent.store.puts)
    release.start()
    sent.add(*range(9, 12))
    release.join()

    assert blocked == 2
    assert len(sent.rows) >= 1


def test_an_acknowledgement_is_taken_in_by_the_next_chunk_that_is_added(sent: Sent) -> None:
    """Not only when a pack is full or all is sent: what was not taken in is sent again after a kill."""
    sent.add(1, 2, 3)
    wait_until(lambda: len(sent.store.objects) == 1, "the pack is stored")
    # Its thread may not have come back from the store yet.
    wait_until(lambda: bool(sent.add(4) and sent.rows), "it is acknowledged")

    assert sent.uploader.open_bytes > 4000


def test_the_memory_of_a_pack_that_was_sent_is_used_for_the_next(sent: Sent) -> None:
    bodies: list[memoryview] = []

    class Keeping(MemoryStore):
        def put(self, key: str, data: bytes | memoryview) -> None:
            super().put(key, data)
            assert isinstance(data, memoryview)
            bodies.append(data)

    uploader = Uploader(Keeping(), on_stored=lambda row: None, workers=2, pack_bytes=10_000)
    for seed in range(60):
        data = random_bytes(4000, b"%d" % seed)
        uploader.add(digest_of(data), data)
    uploader.flush()
    uploader.close()

    assert len(bodies) == 20
    with pytest.raises(ValueError, match="released"):
        bytes(bodies[0])


def test_a_failure_is_raised_by_the_next_call_and_its_chunks_are_nobodys(sent: Sent) -> None:
    sent.store.fail_puts.append(FAILURE)
    digests = sent.add(1, 2, 3)

    with pytest.raises(Unavailable) as caught:
        sent.uploader.settle()

    assert caught.value is FAILURE
    assert sent.rows == []
    assert not any(sent.uploader.pending(digest) for digest in digests)


def test_packs_that_did_arrive_are_acknowledged_beside_a_failure(sent: Sent) -> None:
    sent.store.fail_puts.append(FAILURE)
    sent.store.gate = threading.Event()
    sent.add(*range(6))
    sent.store.gate.set()
    with pytest.raises(Unavailable):
        sent.uploader.settle()

    assert len(sent.rows) == 1


def test_after_a_failure_everything_can_be_added_again(sent: Sent) -> None:
    sent.store.fail_puts.append(FAILURE)
    with pytest.raises(Unavailable):  # noqa: PT012 - by the next chunk, when it is known by then
        sent.add(1, 2, 3, 4)
        sent.uploader.settle()
    sent.uploader.discard()
    digests = sent.add(1, 2, 3, 4)
    sent.uploader.flush()

    assert sent.acknowledged == set(digests)


def test_a_snapshot_is_published_with_one_put(sent: Sent) -> None:
    (digest,) = sent.add(1)
    snapshot = Snapshot(version=1, git_commit="abc")
    ref = sent.uploader.publish(snapshot, [], [])
    footer = parse_footer(ref.key, sent.store.objects[ref.key])

    assert [ref.key] == sent.store.puts
    assert ref.digest == digest_of(snapshot.SerializeToString(deterministic=True))
    assert (snapshot, [digest]) == (footer.snapshot, [entry.digest for entry in footer.entries])
    assert sent.acknowledged == {digest}


def test_a_snapshot_is_put_only_after_everything_before_is_acknowledged(sent: Sent) -> None:
    sent.store.gate = threading.Event()
    sent.add(*range(6))
    threading.Timer(0.05, sent.store.gate.set).start()
    ref = sent.uploader.publish(Snapshot(version=1), sent.rows, [])
    footer = parse_footer(ref.key, sent.store.objects[ref.key])

    assert [ref.key] == sent.store.puts[2:]
    assert len(footer.packs) == 2


def test_a_snapshot_is_not_put_when_a_pack_failed(sent: Sent) -> None:
    sent.store.fail_puts.append(FAILURE)
    sent.add(1, 2, 3)

    with pytest.raises(Unavailable):
        sent.uploader.publish(Snapshot(version=1), [], [])

    assert not any(key.startswith("s/") for key in sent.store.puts)


def test_an_index_object_lists_packs(sent: Sent) -> None:
    sent.add(1, 2, 3)
    sent.uploader.settle()
    key = sent.uploader.write_index(sent.rows).result()

    assert key.startswith("i/")
    assert sent.rows == list(parse_footer(key, sent.store.objects[key]).packs)


def test_counters_count_what_the_store_acknowledged(sent: Sent) -> None:
    sent.store.fail_puts.append(FAILURE)
    sent.add(1, 2, 3)
    with pytest.raises(Unavailable):
        sent.uploader.settle()
    nothing = (sent.uploader.chunks, sent.uploader.bytes_sent, sent.uploader.puts)
    sent.add(1, 2, 3)
    sent.uploader.flush()

    assert nothing == (0, 0, 0)
    assert (sent.uploader.chunks, sent.uploader.puts) == (3, 1)
    assert sent.uploader.bytes_sent == sum(map(len, sent.store.objects.values()))
