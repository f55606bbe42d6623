"""Which requests fetch chunks of a pack."""

from __future__ import annotations

from itertools import pairwise

import pytest

from pollinator.chunks.ranges import FIRST_BYTES, GAP_BYTES, RANGE_BYTES, Range, graded, plan
from pollinator.v1.tree_pb2 import PackEntry

PACK = 16 * 1024 * 1024


def entry(offset: int, size: int = 1000, plain: int = 0) -> PackEntry:
    return PackEntry(offset=offset, stored_size=size, size=plain or size)


def spans(*entries: PackEntry, extent: int = PACK) -> list[tuple[int, int, int]]:
    return [(each.start, each.end, len(each.entries)) for each in plan("p", entries, extent)]


def test_one_chunk_is_one_range() -> None:
    assert spans(entry(5000)) == [(5000, 6000, 1)]


def test_chunks_with_small_gaps_are_read_at_once() -> None:
    assert spans(entry(8), entry(1008 + GAP_BYTES)) == [(8, 2008 + GAP_BYTES, 2)]


def test_chunks_with_large_gaps_are_read_apart() -> None:
    far = 1009 + GAP_BYTES

    assert spans(entry(8), entry(far)) == [(8, 1008, 1), (far, far + 1000, 1)]


def test_the_order_of_wishes_does_not_matter() -> None:
    assert spans(entry(1008), entry(8)) == [(8, 2008, 2)]


def test_a_pack_of_which_much_is_wanted_is_read_at_once() -> None:
    third = PACK // 3

    assert spans(entry(8, third), entry(PACK - 1000)) == [(8, PACK, 2)]


def test_a_range_is_never_longer_than_memory_allows() -> None:
    size = RANGE_BYTES // 4
    found = spans(*(entry(at * size, size) for at in range(10)), extent=10 * size)

    assert [4, 4, 2] == [count for _, _, count in found]
    assert max(end - start for start, end, _ in found) <= RANGE_BYTES


def test_what_a_range_holds_when_unpacked_is_no_more_than_memory_allows() -> None:
    found = [*plan("p", [entry(8 + at, 1, RANGE_BYTES // 4) for at in range(10)], PACK)]

    assert [4, 4, 2] == [len(each.entries) for each in found]
    assert [RANGE_BYTES, RANGE_BYTES, RANGE_BYTES // 2] == [each.weight for each in found]


def test_nothing_wanted_makes_no_request() -> None:
    assert spans() == []


def test_entries_that_overlap_are_covered() -> None:
    assert spans(entry(0, 500), entry(100, 10)) == [(0, 500, 2)]


def test_the_first_parts_of_long_requests_are_short() -> None:
    size = FIRST_BYTES // 4
    requests = [
        *plan("p", [entry(at * size, size) for at in range(60)], 60 * size),
        Range("q", 8, 9, (entry(8),)),
    ]
    found = list(graded(requests))

    assert [1, 2, 4, 8] == [(each.end - each.start) // FIRST_BYTES for each in found if each.key == "p"]
    assert [each.entries for each in requests] == [
        tuple(one for each in found if each.key == key for one in each.entries) for key in "pq"
    ]
    assert requests[0].start == found[0].start
    assert all(one.end == two.start for one, two in pairwise(found) if two.key == "p")


def test_parts_cover_their_chunks_also_where_these_overlap() -> None:
    size = FIRST_BYTES
    chunks = [entry(0, size - 10), entry(8, 10), entry(size, 4 * size)]
    found = list(graded(plan("p", chunks, 5 * size)))

    assert [2, 1] == [len(each.entries) for each in found]
    assert all(
        each.start <= one.offset and one.offset + one.stored_size <= each.end
        for each in found
        for one in each.entries
    )


@pytest.mark.parametrize("entries", [[entry(8, 3 * FIRST_BYTES)], [entry(8, 100), entry(108, FIRST_BYTES)]])
def test_what_is_short_or_one_chunk_is_one_request(entries: list[PackEntry]) -> None:
    requests = list(plan("p", entries, PACK))

    assert requests == list(graded(requests))
