"""Copying what is needed out of packs that are mostly garbage, so that they can be removed.

First the copies are stored, then it is said where they are, and only then may anybody condemn the packs they
were copied from: whoever finds such a pack gone knows where to look.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field

from pollinator.chunks.garbage.mark import Marked
from pollinator.chunks.garbage.roots import Report
from pollinator.chunks.keeping import write_moves
from pollinator.chunks.keys import PACK, SNAPSHOT
from pollinator.chunks.read import SnapshotReader, read_footer
from pollinator.chunks.store import Listed, Store
from pollinator.chunks.upload import PACK_BYTES, Uploader
from pollinator.v1.keeping_pb2 import Moves
from pollinator.v1.tree_pb2 import PackIndex
from pollinator.wire.faults import crash_point

NEEDED_SHARE = 0.5
"""A pack of which less than this is needed is worth copying the rest."""

STORE_SHARE = 0.05
"""At most so much of a store is copied by one collection, or one pack."""


@dataclass(slots=True)
class Repacked:
    """What was copied, or would be."""

    left: list[str] = field(default_factory=list[str])
    """Packs of which nothing is needed any more."""
    bytes: int = 0


def worth_repacking(
    listed: Mapping[str, Listed], marked: Marked, claimed: Container[str], before_ns: int
) -> Repacked:
    """Packs that are mostly garbage, the worst first.

    Args:
        listed: all that the store holds.
        marked: what is needed of it.
        claimed: objects that somebody needs whatever is in them.
        before_ns: younger ones are left alone.
    """
    chosen = Repacked()
    if marked.broken:
        # What is needed is not known then.
        return chosen
    budget = max(PACK_BYTES, STORE_SHARE * sum(each.size for each in listed.values()))
    for key, needed in sorted(marked.packs.items(), key=lambda item: item[1]):
        each = listed.get(key)
        if each is None or key[0] not in (PACK, SNAPSHOT) or key in marked.snapshots or key in claimed:
            continue
        worth = needed < NEEDED_SHARE * each.size and each.modified_ns <= before_ns
        if worth and chosen.bytes + needed <= budget:
            chosen.left.append(key)
            chosen.bytes += needed
    return chosen


def repack(
    store: Store,
    chosen: Repacked,
    listed: Mapping[str, Listed],
    marked: Marked,
    avoid: Container[str],
    report: Report,
) -> None:
    """Copy what is needed of these packs to others, and say so in the store.

    Raises:
        PollinatorError: the store fails, or a chunk is damaged; nothing was said then, and all stays.
    """
    rows: list[PackIndex] = []
    uploader = Uploader(store, on_stored=rows.append, avoid=avoid)
    try:
        for at, key in enumerate(chosen.left):
            report("copying", at, len(chosen.left))
            row = PackIndex(key=key, entries=read_footer(store, key, listed[key].size).entries)
            reader = SnapshotReader(store)
            reader.learn(row)
            # Each is verified by its digest before it is copied.
            wanted = [entry.digest for entry in row.entries if entry.digest in marked.chunks]
            for digest, data in reader.fetch(wanted):
                uploader.add(digest, data)
        uploader.flush()
    finally:
        uploader.close()
    crash_point("before_moves")
    write_moves(store, Moves(left=sorted(chosen.left), packs=sorted(rows, key=lambda row: row.key)))
    crash_point("after_moves")
