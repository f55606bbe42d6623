"""Collecting garbage: condemn what nobody needs, and remove it a day later if that is still so.

Safe with any number of writers and collectors, on stores without conditional writes, and interrupted
anywhere: docs/decisions/0013-garbage.md says why. The order of the steps matters and is said beside each.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pollinator.chunks.garbage.mark import Marked, Marker
from pollinator.chunks.garbage.repack import Repacked, repack, worth_repacking
from pollinator.chunks.garbage.roots import Report, Roots, said_roots, young_snapshots
from pollinator.chunks.keeping import all_moves, condemned_keys, read_condemned, write_condemned
from pollinator.chunks.keys import CONDEMNED, INDEX, LEASE, MOVES, PACK, REF, SNAPSHOT, TALK, client_key
from pollinator.chunks.store import Listed, Store
from pollinator.v1.keeping_pb2 import Condemned, CondemnedObject
from pollinator.v1.project_pb2 import Collected, Garbage
from pollinator.wire.errors import Corrupt, Denied, NotFound
from pollinator.wire.faults import crash_point

GRACE_S = 24 * 3600.0
"""Younger than this nothing is condemned, and nothing is removed sooner after it was condemned."""

_KINDS = {
    SNAPSHOT: "snapshots",
    MOVES: "moves",
    INDEX: "indexes",
    PACK: "packs",
    REF: "refs",
    LEASE: "leases",
    CONDEMNED: "lists",
    TALK: "pages",
}
"""What is removed, in this order: what names others goes first."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Plan:
    """What a collection has decided."""

    listed: dict[str, Listed]
    marked: Marked
    repacked: Repacked
    condemned: list[CondemnedObject] = field(default_factory=list[CondemnedObject])
    """What the list will hold, in any order: also what is removed now."""
    doomed: list[Listed] = field(default_factory=list[Listed])
    problems: list[str] = field(default_factory=list[str])


class Collector:
    """Collects the garbage of one store for one client."""

    def __init__(self, store: Store, client: str, grace_s: float = GRACE_S) -> None:
        self._store = store
        self._list_key = client_key(CONDEMNED, client)
        self._client = client
        self._grace_s = grace_s

    def collect(self, report: Report, *, dry_run: bool = False) -> Collected:
        """Remove what was condemned long enough ago, and condemn what is needed by nobody.

        Args:
            report: told how far it is.
            dry_run: say what would be done, and neither write nor remove anything.

        Raises:
            PollinatorError: the store does not answer, or does not say who needs what: nothing is removed.
        """
        earlier = self._earlier()
        now_ns = self._now(earlier, dry_run=dry_run)
        # Roots before the listing, and both before anything is marked: whoever publishes meanwhile goes by a
        # view of what is condemned that is younger than the time since.
        roots = said_roots(self._store, now_ns)
        listed = {each.key: each for each in self._store.listing()}
        if dry_run:
            now_ns = max((each.modified_ns for each in listed.values()), default=0)
        for key in young_snapshots(listed, now_ns, self._grace_s):
            roots.add(key, "")
        marked = Marker(self._store, listed, all_moves(self._store)).mark(roots.snapshots, report)
        repacked = worth_repacking(listed, marked, roots.objects, now_ns - round(self._grace_s * 1e9))
        if not dry_run:
            repacked = self._repack(repacked, listed, marked, report)
        plan = self._plan(Plan(listed, marked, repacked), roots, earlier, now_ns)
        if not dry_run:
            self._write(plan)
            self._remove(plan, roots.dead, report)
        return self._result(plan, roots)

    def _earlier(self) -> dict[str, CondemnedObject]:
        """What this client condemned, each with the time at which that was to be seen by all."""
        listed = next(iter(self._store.listing(self._list_key)), None)
        if listed is None:
            return {}
        try:
            objects = read_condemned(self._store, self._list_key).objects
        except Corrupt as error:
            # The time begins anew for all of them.
            _log.warning("%s; it is made anew", error.message)
            return {}
        for each in objects:
            if not each.HasField("condemn_time"):
                each.condemn_time.FromNanoseconds(listed.modified_ns)
        return {each.key: each for each in objects}

    def _now(self, earlier: Mapping[str, CondemnedObject], *, dry_run: bool) -> int:
        """The time by the clock of the store: that of an object written just now."""
        if not dry_run:
            self._write_list(earlier.values())
        return max((each.modified_ns for each in self._store.listing(self._list_key)), default=0)

    def _repack(
        self, chosen: Repacked, listed: Mapping[str, Listed], marked: Marked, report: Report
    ) -> Repacked:
        if not chosen.left:
            return chosen
        try:
            repack(self._store, chosen, listed, marked, condemned_keys(self._store) | listed.keys(), report)
        except NotFound as error:
            # This one slept, and another collection was faster.
            _log.info("nothing is repacked: %s", error.message)
            return Repacked()
        for key in chosen.left:
            del marked.packs[key]
        return chosen

    def _plan(self, plan: Plan, roots: Roots, earlier: Mapping[str, CondemnedObject], now_ns: int) -> Plan:
        delay_ns = max(self._grace_s, 2 * roots.slowest_s) * 1e9
        needed = plan.marked.objects | roots.objects
        for key, each in plan.listed.items():
            if key[0] not in (SNAPSHOT, PACK, INDEX, MOVES) or key in needed:
                continue
            before = earlier.get(key)
            if before is not None and before.modify_time.ToNanoseconds() == each.modified_ns:
                plan.condemned.append(before)
                if now_ns - before.condemn_time.ToNanoseconds() >= delay_ns:
                    plan.doomed.append(each)
            elif now_ns - each.modified_ns > self._grace_s * 1e9:
                plan.condemned.append(_condemned(each))
        plan.problems += [
            f"{why if key in why else f'{key}: {why}'}; pollinator fsck says what that hits"
            for key, why in plan.marked.broken.items()
        ]
        if roots.blind:
            plan.doomed.clear()
            plan.problems += [
                f"nothing can be removed: {who} may not list the objects (s3:ListBucket)"
                for who in sorted(set(roots.blind))
            ]
        return plan

    def _write(self, plan: Plan) -> None:
        crash_point("before_condemn")
        self._write_list(plan.condemned)
        crash_point("after_condemn")

    def _write_list(self, objects: Iterable[CondemnedObject]) -> None:
        ordered = sorted(objects, key=lambda each: each.key)
        write_condemned(self._store, self._client, Condemned(objects=ordered))

    def _remove(self, plan: Plan, dead: list[Listed], report: Report) -> None:
        """What is removed stays on the list until the next collection: nobody can know it for stored."""
        kinds = list(_KINDS)
        todo = sorted([*plan.doomed, *dead], key=lambda each: kinds.index(each.key[0]))
        removed: list[Listed] = []
        for at, each in enumerate(todo):
            report("removing", at, len(todo))
            crash_point("before_remove")
            try:
                self._store.delete(each.key)
            except Denied as error:
                plan.problems.append(f"nothing can be removed: {error.message} (s3:DeleteObject)")
                break
            except NotFound:
                continue
            removed.append(each)
        plan.doomed = removed

    def _result(self, plan: Plan, roots: Roots) -> Collected:
        removed = {each.key for each in plan.doomed}
        waiting = [plan.listed[each.key] for each in plan.condemned if each.key not in removed]
        return Collected(
            store=self._store.identity,
            objects=len(plan.listed),
            bytes=sum(each.size for each in plan.listed.values()),
            kept_snapshots=len(roots.snapshots),
            removed=_sums(plan.doomed),
            condemned=_sums(waiting),
            repacked_packs=len(plan.repacked.left),
            repacked_bytes=plan.repacked.bytes,
            problems=plan.problems,
        )


def collected_lately(store: Store, within_s: float) -> bool:
    """Somebody has collected within this time: there is little left to do.

    By the clock of the store; now is when the last ref was written.
    """
    refs = [each.modified_ns for each in store.listing(f"{REF}/")]
    lists = [each.modified_ns for each in store.listing(f"{CONDEMNED}/")]
    return bool(lists) and max(refs, default=0) - max(lists) < within_s * 1e9


def _condemned(each: Listed) -> CondemnedObject:
    condemned = CondemnedObject(key=each.key)
    condemned.modify_time.FromNanoseconds(each.modified_ns)
    return condemned


def _sums(objects: Iterable[Listed]) -> list[Garbage]:
    counts, sizes = Counter[str](), Counter[str]()
    for each in objects:
        counts[each.key[0]] += 1
        sizes[each.key[0]] += each.size
    return [
        Garbage(kind=word, objects=counts[kind], bytes=sizes[kind])
        for kind, word in _KINDS.items()
        if counts[kind]
    ]
