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
"""Longest range read at once, and the most that its chunks may be when plain, so that memory stays bounded
whatever a pack's size is and however well it is compressed."""

FIRST_BYTES = 2 * 1024 * 1024
"""Of many requests that are made at once the first is as short, if it can be."""


@dataclass(frozen=True, slots=True)
class Range:
    """One request: bytes from ``start`` to ``end`` of an object, and the chunks wanted of them."""

    key: str
    start: int
    end: int
    entries: tuple[PackEntry, ...]

    @property
    def weight(self) -> int:
        """How many bytes it takes in memory, roughly: those that are read, or the plain ones."""
        return max(self.end - self.start, sum(entry.size for entry in self.entries))


def plan(key: str, entries: Iterable[PackEntry], extent: int) -> Iterator[Range]:
    """Requests that cover these chunks of a pack.

    Args:
        key: the pack.
        entries: what is wanted of it.
        extent: how many bytes all its chunks take.
    """
    ordered = sorted(entries, key=lambda entry: entry.offset)
    wanted = sum(entry.stored_size for entry in ordered)
    whole = wanted > WHOLE_SHARE * extent
    if whole and max(extent, sum(entry.size for entry in ordered)) <= RANGE_BYTES:
        yield Range(key, ordered[0].offset, _end(ordered), tuple(ordered))
        return
    gap = extent if whole else GAP_BYTES
    batch: list[PackEntry] = []
    end = plain = 0
    for entry in ordered:
        here, stop = entry.offset, entry.offset + entry.stored_size
        if batch and (
            here - end > gap or stop - batch[0].offset > RANGE_BYTES or plain + entry.size > RANGE_BYTES
        ):
            yield Range(key, batch[0].offset, end, tuple(batch))
            batch, end, plain = [], 0, 0
        end = max(end, stop)
        plain += entry.size
        batch.append(entry)
    if batch:
        yield Range(key, batch[0].offset, end, tuple(batch))


def graded(requests: Iterable[Range]) -> Iterator[Range]:
    """The same requests, long ones in parts at first, each part twice as long as the one before.

    What is short is there soon, and can be worked on while the rest is on its way.
    """
    part_bytes = FIRST_BYTES
    for each in requests:
        rest = each
        while rest.weight > 2 * part_bytes and len(rest.entries) > 1:
            part, rest = _split(rest, part_bytes)
            yield part
            part_bytes *= 2
        yield rest


def _split(whole: Range, part_bytes: int) -> tuple[Range, Range]:
    """The first chunks of a request, up to so many bytes or one chunk, and the others."""
    count, weight = 0, 0
    for entry in whole.entries[:-1]:
        weight += max(entry.size, entry.stored_size)
        if count and weight > part_bytes:
            break
        count += 1
    first, others = whole.entries[:count], whole.entries[count:]
    part = Range(whole.key, whole.start, _end(first), first)
    return part, Range(whole.key, others[0].offset, whole.end, others)


def _end(entries: Iterable[PackEntry]) -> int:
    # A pack may have chunks in others: the last of them need not reach farthest.
    return max(entry.offset + entry.stored_size for entry in entries)
