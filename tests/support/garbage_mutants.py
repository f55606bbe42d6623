"""Defects that collecting garbage may have, put in on purpose: whoever tests it must find each of them."""

from __future__ import annotations

from collections.abc import Callable, Container, Generator, Mapping
from contextlib import AbstractContextManager, contextmanager
from unittest.mock import patch

from pollinator.chunks.garbage import roots
from pollinator.chunks.garbage.collect import Collector, Plan
from pollinator.chunks.garbage.mark import Marked, Marker
from pollinator.chunks.garbage.roots import Roots
from pollinator.chunks.store import Store
from pollinator.daemon.sync import held, outbox
from pollinator.daemon.sync.outbox import Outbox
from pollinator.daemon.sync.view import View
from pollinator.v1.keeping_pb2 import CondemnedObject
from pollinator.v1.tree_pb2 import PackIndex
from support import garbage
from support.shared_store import Way

Mutant = Callable[[], AbstractContextManager[object]]
_plan = Collector._plan  # pyright: ignore[reportPrivateUsage] # a defect is put in
_rows = held._rows  # pyright: ignore[reportPrivateUsage] # a defect is put in


def no_second_mark() -> AbstractContextManager[object]:
    """What was condemned is removed when its time has come, whether somebody needs it by then or not."""

    def plan(
        self: Collector, plan: Plan, found: Roots, earlier: Mapping[str, CondemnedObject], now_ns: int
    ) -> Plan:
        made = _plan(self, plan, found, earlier, now_ns)
        due = [key for key, each in earlier.items() if _due(each, now_ns) and key in made.listed]
        made.doomed = [made.listed[key] for key in due]
        return made

    return patch.object(Collector, "_plan", plan)


def removed_at_once() -> AbstractContextManager[object]:
    """What nobody needs is removed by the collection that finds it."""

    def plan(
        self: Collector, plan: Plan, found: Roots, earlier: Mapping[str, CondemnedObject], now_ns: int
    ) -> Plan:
        made = _plan(self, plan, found, earlier, now_ns)
        made.doomed = [made.listed[each.key] for each in made.condemned]
        return made

    return patch.object(Collector, "_plan", plan)


def age_by_the_clock_of_the_client() -> AbstractContextManager[object]:
    """The time is that of the machine which collects."""

    def now(self: Collector, earlier: Mapping[str, CondemnedObject], *, dry_run: bool) -> int:
        self._write_list(earlier.values())  # pyright: ignore[reportPrivateUsage] # a defect is put in
        way = self._store  # pyright: ignore[reportPrivateUsage] # a defect is put in
        assert isinstance(way, Way)
        return way.store.clock_ns() + way.skew_ns

    return patch.object(Collector, "_now", now)


def condemned_when_it_was_read() -> AbstractContextManager[object]:
    """The delay counts from when an object was written, not from when it was condemned."""

    def plan(
        self: Collector, plan: Plan, found: Roots, earlier: Mapping[str, CondemnedObject], now_ns: int
    ) -> Plan:
        for each in earlier.values():
            each.condemn_time.CopyFrom(each.modify_time)
        return _plan(self, plan, found, earlier, now_ns)

    return patch.object(Collector, "_plan", plan)


def leases_ignored() -> AbstractContextManager[object]:
    """What an executor needs does not count."""

    def nothing(_found: Roots, _store: Store, _key: str) -> None: ...

    return patch.object(roots, "_add_lease", nothing)


def refs_ignored() -> AbstractContextManager[object]:
    """What a client keeps does not count."""

    def nothing(_found: Roots, _store: Store, _key: str) -> None: ...

    return patch.object(roots, "_add_ref", nothing)


def condemned_lists_ignored() -> AbstractContextManager[object]:
    """A writer goes by what it knows to be stored."""

    def look(self: View) -> None:
        self._looked_at = self._clock()  # pyright: ignore[reportPrivateUsage] # a defect is put in

    return patch.object(View, "look", look)


def condemned_keys_written_again() -> AbstractContextManager[object]:
    """A pack gets the key its content gives it, and one that was written again is removed all the same."""
    return _together(_no_key_avoided(), rewritten_objects_removed())


def rewritten_objects_removed() -> AbstractContextManager[object]:
    """It does not matter that an object was written again after it was condemned."""

    def plan(
        self: Collector, plan: Plan, found: Roots, earlier: Mapping[str, CondemnedObject], now_ns: int
    ) -> Plan:
        for key, each in earlier.items():
            if key in plan.listed:
                each.modify_time.FromNanoseconds(plan.listed[key].modified_ns)
        return _plan(self, plan, found, earlier, now_ns)

    return patch.object(Collector, "_plan", plan)


def no_look_before_publishing() -> AbstractContextManager[object]:
    """However old its view is, a writer believes it."""

    def believe(self: Outbox) -> None:
        if self._view.age_s == float("inf"):  # pyright: ignore[reportPrivateUsage] # a defect is put in
            self.look()

    return patch.object(Outbox, "look_if_needed", believe)


def only_the_lists_are_read_after_a_long_sleep() -> AbstractContextManager[object]:
    """What was removed while nobody looked is taken for stored."""

    class Trusting(View):
        @property
        def age_s(self) -> float:
            return min(super().age_s, 2 * garbage.VIEW_S)

    return patch.object(outbox, "View", Trusting)


def moves_removed_too_early() -> AbstractContextManager[object]:
    """Where chunks were moved is forgotten while snapshots name the packs they were in."""

    def objects(self: Marked) -> set[str]:
        return {*self.snapshots, *self.indexes, *self.packs}

    return patch.object(Marked, "objects", property(objects))


def moved_chunks_counted_where_they_were() -> AbstractContextManager[object]:
    """A pack to which something was moved is needed by nobody."""

    def place(_self: Marker, _displaced: set[bytes], _moved: set[str]) -> set[bytes]:
        return set()

    return patch.object(Marker, "_place_moved", place)


def _due(each: CondemnedObject, now_ns: int) -> bool:
    return now_ns - each.condemn_time.ToNanoseconds() >= garbage.GRACE_S * 1e9


def _no_key_avoided() -> AbstractContextManager[object]:
    real = garbage.small_packs

    def uploader(store: Way, *, avoid: Container[str] = (), **options: object) -> object:
        return real(store, **options)

    return patch.object(garbage, "small_packs", uploader)


@contextmanager
def _together(*mutants: AbstractContextManager[object]) -> Generator[None]:
    with mutants[0], mutants[1]:
        yield


def a_new_index_takes_over_what_is_condemned() -> AbstractContextManager[object]:
    """What heads name counts as stored, also where somebody means to remove it."""

    def rows(store: Store, condemned: Container[str]) -> list[PackIndex]:
        del condemned
        return held.rows_held(store, ())

    return patch.object(outbox, "rows_held", rows)


def a_new_index_believes_what_heads_name() -> AbstractContextManager[object]:
    """What heads list counts as stored, whether it is there or not."""

    def rows(store: Store, named: set[str], sizes: Mapping[str, int]) -> dict[str, PackIndex]:
        found = _rows(store, named, sizes)
        assert isinstance(sizes, dict)
        sizes.update(dict.fromkeys(found, 0))
        return found

    return patch.object(held, "_rows", rows)


MUTANTS: tuple[Mutant, ...] = (
    no_second_mark,
    removed_at_once,
    age_by_the_clock_of_the_client,
    condemned_when_it_was_read,
    leases_ignored,
    refs_ignored,
    condemned_lists_ignored,
    condemned_keys_written_again,
    no_look_before_publishing,
    only_the_lists_are_read_after_a_long_sleep,
    moves_removed_too_early,
    moved_chunks_counted_where_they_were,
    a_new_index_takes_over_what_is_condemned,
    a_new_index_believes_what_heads_name,
)
