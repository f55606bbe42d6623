"""Which requests fetch some chunks of a pack with the least waiting. Decides only; ``read`` makes them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pollinator.v1.tree_pb2 import PackEntry

GAP_BYTES = 256 * 1024
"""Wanted chunks with less than this between them are read at once: cheaper than one more request."""

WHOLE_SHARE = 0.3
"""A pack of which more than this share is wanted is read from the first wanted byte to the last."""

RANGE_BYTES = 32 * 1024 * 1024
"""Longest range read at once, so that memory stays bounded whatever a pack's size is."""


@dataclass(frozen=True, slots=True)
class Range:
    """One request: bytes from ``start`` to ``end`` of an object, and the chunks wanted of them."""

    key: str
    start: int
    end: int
    entries: tuple[PackEntry, ...]


def plan(key: str, entries: Iterable[PackEntry], extent: int) -> Iterator[Range]:
    """Requests that cover these chunks of a pack.

    Args:
        key: the pack.
        entries: what is wanted of it.
        extent: how many bytes all its chunks take.
    """
    ordered = sorted(entries, key=lambda entry: entry.offset)
    wanted = sum(entry.stored_size for entry in ordered)
    gap = extent if wanted > WHOLE_SHARE * extent else GAP_BYTES
    batch: list[PackEntry] = []
    end = 0
    for entry in ordered:
        long = batch and entry.offset + entry.stored_size - batch[0].offset > RANGE_BYTES
        if long or (batch and entry.offset - end > gap):
            yield Range(key, batch[0].offset, end, tuple(batch))
            batch = []
        end = max(end, entry.offset + entry.stored_size) if batch else entry.offset + entry.stored_size
        batch.append(entry)
    if batch:
        yield Range(key, batch[0].offset, end, tuple(batch))
