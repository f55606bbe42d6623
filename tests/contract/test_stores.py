"""What every store promises: one suite, run against each of them."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from pollinator.chunks import s3
from pollinator.chunks.blobs import PeerStore
from pollinator.chunks.cache import PackCache
from pollinator.chunks.digest import digest_of
from pollinator.chunks.folder import FolderStore
from pollinator.chunks.keeping import read_lease, read_ref, write_lease, write_ref
from pollinator.chunks.keys import namespace, pack_key
from pollinator.chunks.layout import lay_out
from pollinator.chunks.pack import PackBuilder
from pollinator.chunks.read import SnapshotReader
from pollinator.chunks.store import Store
from pollinator.chunks.stores import open_store
from pollinator.chunks.upload import Uploader
from pollinator.executors.conformance.trees import File, Link, Listing, random_bytes, store_tree
from pollinator.v1.keeping_pb2 import Lease, Ref
from pollinator.v1.tree_pb2 import PackIndex, Snapshot, SnapshotRef, Tree
from pollinator.wire.errors import InvalidInput, NotFound, PollinatorError
from support.peer import Peer, peer
from support.storing import listed

__all__ = ["peer"]

ABSENT = pack_key("p", digest_of(b"never stored"))


@dataclass(frozen=True)
class Kind:
    """One kind of store: how to open it for a project, and what it offers."""

    open: Callable[[str], Store]
    removes: bool = True
    secret: str = ""


@pytest.fixture(params=["folder", "peer", "rclone", "ceph"])
def kind(request: pytest.FixtureRequest, tmp_path: Path) -> Kind:
    match request.param:
        case "folder":
            return Kind(lambda project: FolderStore(tmp_path / namespace(project)))
        case "peer":
            return Kind(request.getfixturevalue("peer").open, removes=False)
        case name:
            server = request.getfixturevalue(f"{name}_s3")
            return Kind(lambda project: open_store(server.settings(), project), secret=server.secret_key)


@pytest.fixture
def opened(kind: Kind) -> Iterator[Callable[[str], Store]]:
    """Opens the store for a project; closes all that were opened."""
    stores: list[Store] = []

    def open_one(project: str) -> Store:
        stores.append(kind.open(project))
        return stores[-1]

    yield open_one
    for store in stores:
        store.close()


@pytest.fixture
def project() -> str:
    """A name no other test has used."""
    return f"demo-{secrets.token_hex(6)}"


@pytest.fixture
def store(opened: Callable[[str], Store], project: str) -> Store:
    return opened(project)


def pack(*chunks: bytes, kind: str = "p") -> tuple[str, bytes]:
    builder = PackBuilder("test")
    for chunk in chunks:
        builder.add(digest_of(chunk), chunk)
    row, body = builder.finish(kind)
    return row.key, bytes(body)


def reason_of(call: Callable[[], object]) -> str:
    with pytest.raises(PollinatorError) as caught:
        call()
    return caught.value.reason


def test_an_object_comes_back_byte_for_byte(store: Store) -> None:
    key, body = pack(random_bytes(300_000), b"", bytes(range(256)))
    store.put(key, body)

    assert store.get(key) == body


def test_any_range_of_an_object_can_be_read(store: Store) -> None:
    key, body = pack(random_bytes(200_000))
    store.put(key, body)

    assert store.get(key, 100) == body[100:]
    assert store.get(key, 0, 10) == body[:10]
    assert store.get(key, 100_000, 70_000) == body[100_000:170_000]
    assert store.get(key, len(body) - 5, 100) == body[-5:]
    assert store.get(key, 10, 0) == b""


def test_behind_the_end_there_is_nothing(store: Store) -> None:
    key, body = pack(b"chunk")
    store.put(key, body)

    assert store.get(key, len(body), 10) == b""
    assert store.get(key, len(body) + 10) == b""


def test_writing_an_object_twice_is_harmless(store: Store) -> None:
    key, body = pack(b"chunk")
    store.put(key, body)
    store.put(key, body)

    assert store.get(key) == body


def test_an_object_that_is_not_there_is_named(store: Store) -> None:
    with pytest.raises(NotFound) as caught:
        store.get(ABSENT)

    assert caught.value.reason == "object_missing"
    assert ABSENT in caught.value.message
    assert reason_of(lambda: store.get(ABSENT, 5, 5)) == "object_missing"


def test_what_is_missing_is_named_in_the_order_asked(store: Store) -> None:
    key, body = pack(b"chunk")
    other, _ = pack(b"other")
    store.put(key, body)

    assert store.missing([other, key, ABSENT]) == [other, ABSENT]
    assert store.missing([]) == []


@pytest.mark.parametrize("key", ["", "../x", "p/x", f"q/00/{'0' * 64}", f"p/01/{'0' * 64}"])
def test_nothing_but_keys_can_be_asked_for(store: Store, key: str) -> None:
    assert reason_of(lambda: store.get(key)) == "bad_key"
    assert reason_of(lambda: store.put(key, b"")) == "bad_key"
    assert reason_of(lambda: store.missing([key])) == "bad_key"


def test_projects_do_not_see_each_others_objects(opened: Callable[[str], Store], project: str) -> None:
    key, body = pack(b"chunk")
    opened(project).put(key, body)

    assert opened(f"{project}-other").missing([key]) == [key]
    assert opened(project).missing([key]) == []


def test_keys_are_listed_sorted_and_by_prefix(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "PAGE_KEYS", 3)
    packs = [pack(b"%d" % at) for at in range(7)] + [pack(b"snapshot", kind="s")]
    for key, body in packs:
        store.put(key, body)
    expected = sorted(key for key, _ in packs)

    assert list(store.keys()) == expected
    assert list(store.keys("s/")) == expected[-1:]
    assert list(store.keys("i/")) == []


def test_a_listing_has_sizes_and_times_that_are_later_for_what_is_written_later(store: Store) -> None:
    (first, body), (second, other) = pack(random_bytes(1000)), pack(b"other")
    store.put(first, body)
    before = [each.modified_ns for each in store.listing("p/")]
    deadline = time.monotonic() + 10
    while True:  # some servers tell whole seconds only
        store.put(second, other)
        found = {each.key: each for each in store.listing()}
        if found[second].modified_ns > found[first].modified_ns or time.monotonic() > deadline:
            break

    assert {first: len(body), second: len(other)} == {key: each.size for key, each in found.items()}
    assert [found[first].modified_ns] == before
    assert found[second].modified_ns > found[first].modified_ns
    assert abs(found[second].modified_ns / 1e9 - time.time()) < 3600


def test_what_keeps_objects_is_replaced_as_a_whole(store: Store, kind: Kind) -> None:
    lease = Lease(source=SnapshotRef(key=ABSENT, digest=b"x" * 32))
    write_lease(store, "run1", Lease())
    write_lease(store, "run1", lease)

    assert read_lease(store, "l/run1") == lease
    assert list(store.keys("l/")) == ["l/run1"]
    if not kind.removes:
        assert reason_of(lambda: write_ref(store, "0" * 32, Ref())) == "not_offered"
        assert reason_of(lambda: store.put("l/run1", b"nonsense")) == "bad_keeping"
        return
    write_ref(store, "0" * 32, Ref(packs=[ABSENT]))

    assert read_ref(store, f"r/{'0' * 32}").packs == [ABSENT]


def test_a_removed_object_is_gone_and_removing_it_again_is_harmless(store: Store, kind: Kind) -> None:
    key, body = pack(b"chunk")
    store.put(key, body)
    if not kind.removes:
        assert reason_of(lambda: store.delete(key)) == "not_offered"
        return
    store.delete(key)
    store.delete(key)

    assert store.missing([key]) == [key]


def test_many_threads_may_use_a_store_at_once(store: Store) -> None:
    packs = [pack(random_bytes(50_000, b"%d" % at)) for at in range(24)]
    keys, bodies = [key for key, _ in packs], [body for _, body in packs]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(store.put, keys, bodies))
        found = list(threads.map(store.get, keys))

    assert found == bodies


def test_many_threads_may_write_the_same_object_at_once(store: Store) -> None:
    key, body = pack(random_bytes(50_000))
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(store.put, [key] * 16, [body] * 16))

    assert store.get(key) == body


def test_an_object_as_large_as_a_pack_is_no_trouble(store: Store) -> None:
    key, body = pack(*(random_bytes(2 * 1024 * 1024, b"%d" % at) for at in range(9)))
    store.put(key, body)

    assert digest_of(store.get(key)) == digest_of(body)
    assert store.get(key, 17 * 1024 * 1024, 1000) == body[17 * 1024 * 1024 :][:1000]


def test_a_store_that_can_be_used_passes_its_check(store: Store) -> None:
    store.check()
    key, body = pack(b"chunk")
    store.put(key, body)
    store.check()


def test_requests_are_counted(store: Store) -> None:
    before = store.requests
    key, body = pack(b"chunk")
    store.put(key, body)
    store.get(key)

    assert store.requests == before + 2


def test_the_identity_is_stable_names_the_project_and_holds_no_secret(
    opened: Callable[[str], Store], kind: Kind, project: str
) -> None:
    identity = opened(project).identity

    assert opened(project).identity == identity
    assert project in identity
    assert opened(f"{project}-other").identity != identity
    assert not kind.secret or kind.secret not in identity


def test_a_snapshot_goes_in_and_comes_out_the_same(store: Store, tmp_path: Path) -> None:
    listing: Listing = {
        b"large": File(random_bytes(5 * 1024 * 1024), 0o644),
        b"odd \xff": File(b"text", 0o600),
        b"d": {b"run": File(b"#!/bin/sh\n" * 100, 0o755), b"up": Link(b"../large"), b"none": {}},
        b"many": {b"%d" % at: File(b"%d" % at * 100, 0o644) for at in range(300)},
    }
    rows: list[PackIndex] = []
    uploader = Uploader(store, on_stored=rows.append, pack_bytes=1024 * 1024)
    tree = Tree(digest=store_tree(listing, uploader))
    uploader.flush()
    index = uploader.write_index(rows).result()
    ref = uploader.publish(Snapshot(version=1, src=tree), [], [index])
    uploader.close()
    target = tmp_path / "laid out"
    target.mkdir()
    reader = SnapshotReader(store, PackCache(tmp_path / "cache", 2**30))
    laid = lay_out(reader, reader.open(ref).src, target)
    found = listed(target)

    assert laid.files == 303
    assert found[b"large"] == ("file", 0o644, random_bytes(5 * 1024 * 1024))
    assert found[b"odd \xff"] == ("file", 0o600, b"text")
    assert found[b"d/run"] == ("file", 0o755, b"#!/bin/sh\n" * 100)
    assert found[b"d/up"] == ("link", 0o777, b"../large")
    assert found[b"d/none"] == ("folder", 0o755, b"")
    assert found[b"many/299"] == ("file", 0o644, b"299" * 100)
    assert len(found) == 303 + 4


def test_a_peer_takes_only_what_its_key_names(peer: Peer, project: str) -> None:
    key, body = pack(random_bytes(1000))
    with_a_flaw = body[:100] + bytes([body[100] ^ 1]) + body[101:]
    store = peer.open(project)

    assert reason_of(lambda: store.put(key, with_a_flaw)) == "bad_chunk"
    assert reason_of(lambda: store.put(ABSENT, body)) == "bad_pack"
    assert store.missing([key, ABSENT]) == [key, ABSENT]
    store.close()


def test_a_peer_that_is_gone_is_named(peer: Peer, project: str, tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/nobody.sock"
    store = PeerStore(grpc.insecure_channel(address), project, address, pause_s=0.001)
    with pytest.raises(PollinatorError) as caught:
        store.check()
    store.close()

    assert (caught.value.reason, caught.value.retryable) == ("peer_unreachable", True)
    assert address in caught.value.message
    assert reason_of(store.check) == "store_closed"


def test_a_peer_cannot_be_asked_for_a_project_that_leads_elsewhere(peer: Peer) -> None:
    with pytest.raises(InvalidInput):
        peer.open("../other")
