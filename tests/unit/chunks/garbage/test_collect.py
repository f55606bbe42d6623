"""The rules of a collection, each by itself; how they work together is tested by random lives."""

from __future__ import annotations

import pytest

from pollinator.chunks.garbage.collect import GRACE_S, Collector, collected_lately
from pollinator.chunks.garbage.roots import LEASE_LIFE_S, REF_LIFE_S, TALK_LIFE_S
from pollinator.chunks.keeping import (
    all_moves,
    read_condemned,
    write_condemned,
    write_lease,
    write_ref,
)
from pollinator.chunks.keys import lease_of_part, page_key
from pollinator.chunks.pack import parse_footer
from pollinator.chunks.read import SnapshotReader
from pollinator.executors.conformance.trees import random_bytes
from pollinator.v1.keeping_pb2 import Condemned, Kept, Lease, Ref
from pollinator.v1.project_pb2 import Collected
from pollinator.v1.tree_pb2 import SnapshotRef
from pollinator.wire.errors import Corrupt, Denied
from support.storing import MemoryStore, Publisher

HOUR = 3600
ME, OTHER = "a" * 32, "b" * 32
VIEW_S = 12 * HOUR


class Place:
    """A store whose clock is the test's, with a ref of one client."""

    def __init__(self) -> None:
        self.now_ns = 10**18
        self.store = MemoryStore(clock_ns=lambda: self.now_ns)
        self.keep()

    def pass_s(self, seconds: float) -> None:
        self.now_ns += round(seconds * 1e9)

    def keep(self, *refs: SnapshotRef, packs: tuple[str, ...] = (), view_s: int = VIEW_S) -> None:
        """Say what the client keeps."""
        write_ref(self.store, ME, Ref(kept=[Kept(snapshot=ref) for ref in refs], packs=packs, view_s=view_s))

    def publish(self, data: bytes) -> SnapshotRef:
        """A snapshot with one file, in a pack of its own."""
        return Publisher(self.store).publish({b"file": data}, flush=True)[0]

    def collect(self, client: str = ME, *, dry_run: bool = False) -> Collected:
        def report(_doing: str, _done: int, _total: int) -> None: ...

        return Collector(self.store, client).collect(report, dry_run=dry_run)

    def objects(self, kinds: str = "psim") -> list[str]:
        return sorted(key for key in self.store.objects if key[0] in kinds)

    def age(self) -> None:
        """As much time passes as garbage must be old."""
        self.pass_s(GRACE_S + 1)


@pytest.fixture
def place() -> Place:
    return Place()


def kinds(found: Collected) -> tuple[dict[str, int], dict[str, int]]:
    return (
        {each.kind: each.objects for each in found.removed},
        {each.kind: each.objects for each in found.condemned},
    )


def test_garbage_is_condemned_when_it_is_a_day_old_and_removed_a_day_later(place: Place) -> None:
    place.publish(random_bytes(9000))
    young = place.collect()
    place.age()
    found = place.collect()
    place.pass_s(GRACE_S - 1)
    early = place.collect()
    place.pass_s(2)
    late = place.collect()

    assert ({}, {}) == kinds(young)
    assert ({}, {"snapshots": 1, "packs": 1}) == kinds(found)
    assert ({}, {"snapshots": 1, "packs": 1}) == kinds(early)
    assert ({"snapshots": 1, "packs": 1}, {}) == kinds(late)
    assert [] == place.objects()


def test_a_dry_run_says_the_same_and_writes_nothing(place: Place) -> None:
    place.publish(random_bytes(9000))
    place.age()
    place.keep()
    before = dict(place.store.objects)
    found = place.collect(dry_run=True)

    assert ({}, {"snapshots": 1, "packs": 1}) == kinds(found)
    assert before == place.store.objects


def test_what_a_ref_names_stays(place: Place) -> None:
    ref = place.publish(random_bytes(9000))
    place.keep(ref)
    for _ in range(3):
        place.age()
        place.collect()

    assert 2 == len(place.objects())
    SnapshotReader(place.store).open(ref)


def test_what_a_lease_names_stays_until_it_is_dead(place: Place) -> None:
    source, result = place.publish(random_bytes(9000)), place.publish(random_bytes(9000, b"r"))
    write_lease(place.store, "run1", Lease(source=source, result=result))
    place.age()
    kept = place.collect()
    place.pass_s(LEASE_LIFE_S)
    dead = place.collect()

    assert ({}, {}) == kinds(kept)
    assert {"leases": 1} == kinds(dead)[0]
    assert {"snapshots": 2, "packs": 2} == kinds(dead)[1]


def test_what_a_young_snapshot_needs_stays_though_nobody_keeps_it_yet(place: Place) -> None:
    publisher, data = Publisher(place.store), random_bytes(9000)
    publisher.publish({b"file": data}, flush=True)
    (pack,) = place.objects("p")
    place.age()
    place.collect()
    place.pass_s(GRACE_S - HOUR)
    rows = publisher.rows[:]
    ref, _ = Publisher(place.store, rows=rows).publish({b"other": b"x", b"file": data})
    body = parse_footer(ref.key, place.store.objects[ref.key])
    place.pass_s(2 * HOUR)
    place.collect()

    assert pack in [row.key for row in body.packs]
    assert pack in place.store.objects


def test_a_client_that_was_not_seen_for_three_months_keeps_nothing(place: Place) -> None:
    place.keep(place.publish(random_bytes(9000)))
    place.pass_s(REF_LIFE_S + 1)
    found = place.collect(OTHER)

    assert {"refs": 1} == kinds(found)[0]
    assert {"snapshots": 1, "packs": 1} == kinds(found)[1]


def test_packs_that_no_snapshot_names_yet_stay_when_a_ref_names_them(place: Place) -> None:
    place.publish(random_bytes(9000))
    (pack,) = place.objects("p")
    place.keep(packs=(pack,))
    for _ in range(2):
        place.age()
        place.collect()

    assert [pack] == place.objects()


def test_what_comes_to_be_needed_again_is_condemned_no_more(place: Place) -> None:
    ref = place.publish(random_bytes(9000))
    place.age()
    place.collect()
    place.keep(ref)
    place.age()
    found = place.collect()

    assert ({}, {}) == kinds(found)
    assert [] == list(read_condemned(place.store, f"g/{ME}").objects)


def test_what_was_written_again_is_not_removed(place: Place) -> None:
    place.publish(random_bytes(9000))
    place.age()
    place.collect()
    (pack,) = place.objects("p")
    place.pass_s(GRACE_S - HOUR)
    place.store.put(pack, place.store.objects[pack])
    place.pass_s(2 * HOUR)
    found = place.collect()

    assert {"snapshots": 1} == kinds(found)[0]
    assert [pack] == place.objects()


def test_a_slow_client_makes_everybody_wait_longer(place: Place) -> None:
    place.publish(random_bytes(9000))
    place.keep(view_s=24 * HOUR)
    place.age()
    place.collect()
    place.pass_s(GRACE_S + 1)
    early = place.collect()
    place.pass_s(GRACE_S)
    late = place.collect()

    assert {} == kinds(early)[0]
    assert {"snapshots": 1, "packs": 1} == kinds(late)[0]


def test_nothing_is_removed_while_a_client_cannot_see_what_is_condemned(place: Place) -> None:
    place.publish(random_bytes(9000))
    place.keep(view_s=0)
    place.age()
    place.collect()
    place.age()
    found = place.collect()

    assert {} == kinds(found)[0]
    assert "s3:ListBucket" in found.problems[0]


def test_a_store_that_lets_nothing_be_removed_is_named(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_key: str) -> None:
        raise Denied("you may not", reason="store_denied")

    monkeypatch.setattr(place.store, "delete", refuse)
    place.publish(random_bytes(9000))
    place.age()
    place.collect()
    place.age()
    found = place.collect()

    assert {} == kinds(found)[0]
    assert "s3:DeleteObject" in found.problems[0]


def test_nobody_removes_what_only_another_has_condemned(place: Place) -> None:
    place.publish(random_bytes(9000))
    place.age()
    place.collect(OTHER)
    place.age()
    found = place.collect()

    assert ({}, {"snapshots": 1, "packs": 1}) == kinds(found)


def test_a_ref_that_cannot_be_read_stops_everything(place: Place) -> None:
    place.publish(random_bytes(9000))
    place.store.objects[f"r/{OTHER}"] = b"nonsense"
    place.store.times[f"r/{OTHER}"] = place.now_ns
    place.age()

    with pytest.raises(Corrupt):
        place.collect()
    assert 2 == len(place.objects())


def test_a_list_of_ones_own_that_cannot_be_read_begins_anew(place: Place) -> None:
    place.publish(random_bytes(9000))
    place.age()
    place.collect()
    place.store.objects[f"g/{ME}"] = b"nonsense"
    place.age()
    found = place.collect()

    assert ({}, {"snapshots": 1, "packs": 1}) == kinds(found)


def test_a_snapshot_that_cannot_be_read_keeps_all_that_it_names(place: Place) -> None:
    publisher = Publisher(place.store)
    refs = [publisher.publish({b"file": random_bytes(9000, b"%d" % at)}, flush=True)[0] for at in range(2)]
    lost = place.objects("p")[0]
    place.keep(refs[1])
    del place.store.objects[lost]
    place.age()
    found = place.collect()

    assert 1 == len(place.objects("p"))
    assert {} == kinds(found)[0] | {kind: count for kind, count in kinds(found)[1].items() if kind == "packs"}


def test_what_is_needed_of_a_pack_that_is_mostly_garbage_is_moved_and_found(place: Place) -> None:
    publisher = Publisher(place.store)
    big, small = random_bytes(90_000), random_bytes(2000, b"small")
    publisher.publish({b"big": big, b"small": small}, flush=True)
    ref, _ = publisher.publish({b"small": small}, flush=True)
    (pack, *_) = [key for key in place.objects("p") if len(place.store.objects[key]) > 80_000]
    place.keep(ref)
    early = SnapshotReader(place.store)
    early.open(ref)
    place.age()
    found = place.collect()
    place.age()
    place.keep(ref)
    place.collect()
    place.age()
    place.collect()
    snapshot = SnapshotReader(place.store).open(ref)

    assert 1 == found.repacked_packs
    assert pack not in place.store.objects
    assert [[pack]] == [list(moves.left) for moves in all_moves(place.store).values()]
    for reader in (early, SnapshotReader(place.store)):
        if reader is not early:
            reader.open(ref)
        [(_, node)] = list(reader.walk(snapshot.src))

        assert small == reader.content(node)  # type: ignore[arg-type] # a file


def test_others_need_not_collect_what_was_collected_just_now(place: Place) -> None:
    before = collected_lately(place.store, GRACE_S)
    write_condemned(place.store, OTHER, Condemned())
    lately = collected_lately(place.store, GRACE_S)
    place.age()
    place.keep()

    assert [False, True, False] == [before, lately, collected_lately(place.store, GRACE_S)]


def test_pages_stay_as_long_as_their_run_or_a_part_of_it_has_a_lease(place: Place) -> None:
    for run in ("run1", "run2", "run3"):
        place.store.put(page_key(run, "0a-b", 1), b"page")
    write_lease(place.store, "run1", Lease())
    write_lease(place.store, lease_of_part("run2", 3), Lease())
    place.pass_s(TALK_LIFE_S - 60)
    early = place.collect()
    place.pass_s(61)
    late = place.collect()

    assert {} == kinds(early)[0]
    assert {"pages": 1} == kinds(late)[0]
    assert [page_key("run1", "0a-b", 1), page_key("run2", "0a-b", 1)] == place.objects("t")


def test_pages_are_no_garbage_of_others_and_disturb_nothing(place: Place) -> None:
    place.keep(place.publish(random_bytes(9000)))
    write_lease(place.store, "run1", Lease())
    before = place.objects()
    place.store.put(page_key("run1", "0a-b", 1), b"page")
    for _ in range(3):
        place.age()
        write_lease(place.store, "run1", Lease())
        assert ({}, {}) == kinds(place.collect())

    assert before == place.objects()


def test_what_a_part_of_a_run_keeps_is_needed_by_the_run(place: Place) -> None:
    ref = place.publish(random_bytes(9000))
    write_lease(place.store, lease_of_part("run1", 0), Lease(result=ref))
    place.age()
    place.collect()
    place.age()

    assert ({}, {}) == kinds(place.collect())
    assert SnapshotReader(place.store).open(ref).src.digest


def test_what_a_part_of_a_run_keeps_stays_as_long_as_the_run_has_a_lease(place: Place) -> None:
    ref = place.publish(random_bytes(9000))
    write_lease(place.store, lease_of_part("run1", 0), Lease(result=ref))
    place.pass_s(LEASE_LIFE_S + 60)
    write_lease(place.store, "run1", Lease())
    kept = place.collect()
    place.pass_s(LEASE_LIFE_S + 60)

    assert ({}, {}) == kinds(kept)
    assert {"leases": 2} == kinds(place.collect())[0]
