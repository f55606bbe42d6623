"""A file as it was read: what is kept of every one, in memory and in the index, so as little as possible."""

from __future__ import annotations

from collections.abc import Sequence

from pollinator.chunks.cut import Content
from pollinator.daemon.scan import Stamp


class File:
    """A regular file as it was read last. Nearly all are one chunk: of that only the digest is kept."""

    __slots__ = ("_content", "stamp")

    def __init__(self, stamp: Stamp, content: Content | bytes) -> None:
        """With all of its content, or the digest of its only chunk."""
        self.stamp = stamp
        self._content = content if isinstance(content, bytes) else _only_chunk(content) or content

    @property
    def only_chunk(self) -> bytes | None:
        """Digest of the one chunk that is all of the content, if there is one."""
        return self._content if isinstance(self._content, bytes) else None

    @property
    def content(self) -> Content:
        """What it holds."""
        if isinstance(self._content, bytes):
            size = self.stamp.size
            return Content(b"", ((self._content, size),), (), size)
        return self._content

    @property
    def chunks(self) -> Sequence[bytes]:
        """Digests of its chunks."""
        if isinstance(self._content, bytes):
            return (self._content,)
        return [digest for digest, _ in self._content.chunks]

    def same_content(self, other: File) -> bool:
        """Both hold the same bytes."""
        return self._content == other._content and self.stamp.size == other.stamp.size


def _only_chunk(content: Content) -> bytes | None:
    if len(content.chunks) == 1 and not content.holes:
        return content.chunks[0][0]
    return None
