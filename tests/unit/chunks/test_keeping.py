"""What keeps objects in a store: the formats of refs, leases, condemned lists and moves."""

from __future__ import annotations

import pytest

from pollinator.chunks.digest import digest_of
from pollinator.chunks.keeping import (
    MAGIC,
    all_moves,
    condemned_keys,
    encode,
    read_lease,
    read_moves,
    read_ref,
    verify_lease,
    write_condemned,
    write_lease,
    write_moves,
    write_ref,
)
from pollinator.chunks.keys import check_key, pack_key
from pollinator.chunks.pack import PackBuilder
from pollinator.v1.keeping_pb2 import Condemned, CondemnedObject, Lease, Moves, Ref
from pollinator.v1.tree_pb2 import PackIndex
from pollinator.wire.errors import Corrupt, InvalidInput, WrongState
from support.storing import MemoryStore

CLIENT = "0123456789abcdef" * 2
PACK = pack_key("p", digest_of(b"a pack"))


def test_a_ref_comes_back_as_it_was() -> None:
    store = MemoryStore()
    write_ref(store, CLIENT, Ref(packs=[PACK], view_s=7))
    found = read_ref(store, f"r/{CLIENT}")

    assert ([PACK], 7, 1) == (list(found.packs), found.view_s, found.version)
    assert found.writer.startswith("pollinator ")


@pytest.mark.parametrize("at", [0, 10, 45])
def test_a_flipped_byte_is_noticed(at: int) -> None:
    store = MemoryStore()
    write_lease(store, "run1", Lease(writer="x"))
    body = store.objects["l/run1"]
    store.objects["l/run1"] = body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]

    with pytest.raises(Corrupt, match="l/run1 is damaged"):
        read_lease(store, "l/run1")


def test_what_was_damaged_on_its_way_is_read_again() -> None:
    store = MemoryStore()
    write_lease(store, "run1", Lease())
    store.damage["l/run1"] = 1

    assert 1 == read_lease(store, "l/run1").version


def test_a_newer_format_is_named() -> None:
    store = MemoryStore()
    plain = Ref(version=2).SerializeToString()
    store.put(f"r/{CLIENT}", MAGIC + digest_of(plain) + plain)

    with pytest.raises(WrongState, match="format 2"):
        read_ref(store, f"r/{CLIENT}")


def test_moves_are_named_by_what_they_say() -> None:
    store = MemoryStore()
    moves = Moves(left=[PACK], packs=[PackIndex(key=PACK)])
    key = write_moves(store, moves)
    store.objects[pack_key("m", b"x" * 32)] = store.objects[key]

    assert key == write_moves(store, moves)
    assert moves == read_moves(store, key)
    with pytest.raises(Corrupt, match="not what its name says"):
        all_moves(store)


def test_all_lists_of_the_condemned_count() -> None:
    store = MemoryStore()
    for client, key in ((CLIENT, "p/a"), (CLIENT[::-1], "p/b")):
        write_condemned(store, client, Condemned(objects=[CondemnedObject(key=key)]))

    assert {"p/a", "p/b"} == condemned_keys(store)


def test_what_is_much_too_large_is_no_lease() -> None:
    lease = Lease()
    lease.source.digest = b"x" * 70_000

    with pytest.raises(Corrupt, match="too large"):
        verify_lease("l/run1", encode(lease))


@pytest.mark.parametrize("key", [f"r/{CLIENT}", f"g/{CLIENT}", "l/01jabc", f"m/00/{'0' * 64}"])
def test_these_are_keys(key: str) -> None:
    assert key == check_key(key)


@pytest.mark.parametrize(
    "key", ["r/x", f"r/{CLIENT}0", f"g/{CLIENT.upper()}", "l/", "l/../x", f"l/{'x' * 65}", f"m/{CLIENT}"]
)
def test_these_are_none(key: str) -> None:
    with pytest.raises(InvalidInput):
        check_key(key)


def test_a_pack_never_gets_a_key_that_is_to_be_avoided() -> None:
    def build(avoid: set[str]) -> str:
        builder = PackBuilder("test")
        builder.add(digest_of(b"chunk"), b"chunk")
        return builder.finish("p", avoid=avoid)[0].key

    plain = build(set())

    assert plain == build(set())
    assert plain != build({plain})
