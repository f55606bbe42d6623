"""Pages: what they hold, and that each is told once, whoever is killed and whatever the store says."""

from __future__ import annotations

from pathlib import Path

import pytest

from pollinator.executors.kubernetes.pages import (
    JOURNAL,
    PAGE_BYTES,
    Incoming,
    Outgoing,
    Page,
    Piece,
    decode,
    encode,
)
from pollinator.wire.errors import Corrupt, NotFound, PollinatorError, Unavailable
from support.storing import MemoryStore

PAGE = Page(
    [Piece(3, 7, b"\x00\xffout"), Piece(JOURNAL, 0, b"began\n")],
    {"go": "n0,n1 10.0.0.1"},
    {"node": 1, "over": True},
)


def test_a_page_is_read_as_it_was_written() -> None:
    assert decode("t/r/w/0000000001", encode(PAGE)) == PAGE
    assert decode("t/r/w/0000000001", encode(Page())) == Page([])


@pytest.mark.parametrize("at", [0, 8, 40, 44, 60, -1])
def test_a_page_of_which_a_bit_was_flipped_is_none(at: int) -> None:
    body = bytearray(encode(PAGE))
    body[at] ^= 1
    with pytest.raises(Corrupt, match="t/r/w"):
        decode("t/r/w/0000000001", bytes(body))


@pytest.mark.parametrize("body", [b"", b"PLNTALK1", encode(PAGE)[:-1], encode(PAGE) + b"x"])
def test_half_a_page_is_none(body: bytes) -> None:
    with pytest.raises(Corrupt):
        decode("t/r/w/0000000001", body)


def test_no_page_is_longer_than_agreed() -> None:
    with pytest.raises(ValueError, match="too long"):
        encode(Page([Piece(0, 0, b"x" * (PAGE_BYTES + 1))]))


def some(number: int) -> Page:
    return Page(about={"number": number})


def read(store: MemoryStore) -> list[object]:
    pages, found = Incoming("r", "w"), list[object]()
    while (page := pages.next(store)) is not None:
        found.append(page.about["number"])
        pages.number += 1
    return found


def test_pages_are_read_in_order_each_once(tmp_path: Path) -> None:
    store, out = MemoryStore(), Outgoing(tmp_path, "r", "w")
    for number in range(12):
        out.send(store, some(number), {"sent": number})

    assert list(range(12)) == read(store)
    assert Outgoing(tmp_path, "r", "w").state == {"sent": 11}


def test_a_page_that_the_store_did_not_take_goes_first(tmp_path: Path) -> None:
    store, out = MemoryStore(fail_puts=[Unavailable("no", reason="x")]), Outgoing(tmp_path, "r", "w")
    with pytest.raises(Unavailable):
        out.send(store, some(0), {"sent": 0})
    after = Outgoing(tmp_path, "r", "w")
    after.send(store, some(1), {"sent": 1})

    assert [0, 1] == read(store)


def test_a_page_whose_answer_was_lost_is_the_same_again(tmp_path: Path) -> None:
    class Deaf(MemoryStore):
        def put(self, key: str, data: bytes | memoryview) -> None:
            super().put(key, data)
            if len(self.puts) == 1:
                raise Unavailable("the answer was lost", reason="x")

    store = Deaf()
    with pytest.raises(Unavailable):
        Outgoing(tmp_path, "r", "w").send(store, some(0), {})
    before = dict(store.objects)
    Outgoing(tmp_path, "r", "w").settle(store)

    assert before == store.objects
    assert [0] == read(store)


def test_a_page_that_is_damaged_on_its_way_is_read_again(tmp_path: Path) -> None:
    store = MemoryStore()
    Outgoing(tmp_path, "r", "w").send(store, some(0), {})
    store.damage["t/r/w/0000000001"] = 1

    assert [0] == read(store)


def test_a_bucket_that_is_gone_is_no_page_that_is_not_there_yet() -> None:
    class Gone(MemoryStore):
        def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
            raise NotFound("there is no bucket", reason="bucket_missing")

    with pytest.raises(PollinatorError, match="no bucket"):
        Incoming("r", "w").next(Gone())
