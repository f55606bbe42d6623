"""What must stay in a store, as all who use it say: refs, leases, and snapshots too young to be in either."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from pollinator.chunks.keeping import read_lease, read_ref
from pollinator.chunks.keys import LEASE, REF, SNAPSHOT, TALK, run_of
from pollinator.chunks.store import Listed, Store
from pollinator.wire.errors import NotFound

REF_LIFE_S = 90 * 86400.0
"""A client that did not say for so long what it keeps is not there any more; live ones do every week."""

LEASE_LIFE_S = 30 * 86400.0
"""The same for a run whose executor has not renewed its lease."""

TALK_LIFE_S = 86400.0
"""Pages of a run that has no lease are of nobody: they come after it, and go before it. So old, all the same,
that no order in which a store tells of its objects can deceive us."""

Report = Callable[[str, int, int], None]
"""Told what is done, how much of it, and of how much in all or 0."""


@dataclass(slots=True)
class Roots:
    """What was found."""

    snapshots: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    """Keys of snapshots, each with those who need it: runs, or the client itself."""
    objects: set[str] = field(default_factory=set[str])
    """Objects that a client needs before any snapshot names them."""
    dead: list[Listed] = field(default_factory=list[Listed])
    """Refs and leases that do not count any more, and pages of runs that are over."""
    slowest_s: int = 0
    """The oldest view of the condemned lists that any client goes by."""
    blind: list[str] = field(default_factory=list[str])
    """Clients who cannot see the condemned lists: while there are some, nothing may be removed."""

    def add(self, key: str, needed_by: str) -> None:
        """A snapshot must stay."""
        self.snapshots.setdefault(key, set()).add(needed_by)


def said_roots(store: Store, now_ns: int) -> Roots:
    """What refs and leases say.

    Args:
        store: where.
        now_ns: the time by the clock of the store.

    Raises:
        PollinatorError: something cannot be read: then nobody knows what must stay.
    """
    roots = Roots()
    # Before the leases: what has none then has lost it, or never had one.
    pages = list(store.listing(f"{TALK}/"))
    # Leases first: one is removed only after the ref that takes its place was written.
    leases = list(store.listing(f"{LEASE}/"))
    # That of a part is written once: it lives as long as the one of its run, which is renewed.
    alive = {run_of(each.key) for each in leases if not _older(each, now_ns, LEASE_LIFE_S)}
    for each in leases:
        if run_of(each.key) in alive:
            _add_lease(roots, store, each.key)
        else:
            roots.dead.append(each)
    for each in list(store.listing(f"{REF}/")):
        if _older(each, now_ns, REF_LIFE_S):
            roots.dead.append(each)
        else:
            _add_ref(roots, store, each.key)
    roots.dead += [
        each for each in pages if run_of(each.key) not in alive and _older(each, now_ns, TALK_LIFE_S)
    ]
    return roots


def young_snapshots(listed: Mapping[str, Listed], now_ns: int, grace_s: float) -> list[str]:
    """Snapshots that nobody may have had the time to keep."""
    return [
        key
        for key, each in listed.items()
        if key.startswith(f"{SNAPSHOT}/") and not _older(each, now_ns, grace_s)
    ]


def _older(each: Listed, now_ns: int, age_s: float) -> bool:
    return now_ns - each.modified_ns > age_s * 1e9


def _add_lease(roots: Roots, store: Store, key: str) -> None:
    try:
        lease = read_lease(store, key)
    except NotFound:
        return  # taken over by a ref just now
    run_id = run_of(key)
    for ref in (lease.source, lease.result):
        if ref.key:
            roots.add(ref.key, run_id)


def _add_ref(roots: Roots, store: Store, key: str) -> None:
    try:
        ref = read_ref(store, key)
    except NotFound:
        return
    for kept in ref.kept:
        roots.add(kept.snapshot.key, kept.run_id or key)
    roots.objects.update(ref.packs)
    roots.slowest_s = max(roots.slowest_s, ref.view_s)
    if not ref.view_s:
        roots.blind.append(ref.writer)
