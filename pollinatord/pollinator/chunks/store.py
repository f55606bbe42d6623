"""What every store can do. A store is a flat space of objects.

All but a few are named by their content and never change; the others are replaced as a whole, each by one
writer only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from pollinator.chunks.flow import Flow


@dataclass(frozen=True, slots=True)
class Listed:
    """One object of a listing."""

    key: str
    size: int
    modified_ns: int
    """When it was written, by the clock of the store: only differences of these mean anything."""


class Store(Protocol):
    """A place for packs: a folder, a bucket, or a peer's store behind its BlobService.

    All calls block and may come from several threads at once. Keys are relative to the project's
    namespace, for example ``p/ab/abcd…``. Writing an object twice is harmless.
    Every method raises a ``PollinatorError``: ``Unavailable`` when trying again may help, ``NotFound``,
    ``NeedsLogin``, ``Denied``, ``Exhausted`` (disk full, quota) otherwise.
    """

    @property
    def identity(self) -> str:
        """Stable text that names this store and namespace, without credentials."""
        ...

    @property
    def requests(self) -> int:
        """How many requests were made so far."""
        ...

    @property
    def retries(self) -> int:
        """How many of them were made because the one before had failed."""
        ...

    @property
    def sent(self) -> Flow:
        """Bytes of objects as they go out, also within an object; what has to go again is taken back."""
        ...

    def put(self, key: str, data: bytes | memoryview) -> None:
        """Store an object; on return it is durable and visible to every reader, whole.

        ``data`` is good only until then.
        """
        ...

    def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        """The object's bytes from ``offset`` on, at most ``length`` of them."""
        ...

    def missing(self, keys: list[str]) -> list[str]:
        """Those of ``keys`` that are not there, in order."""
        ...

    def keys(self, prefix: str = "") -> Iterator[str]:
        """All keys that begin with ``prefix``, sorted."""
        ...

    def listing(self, prefix: str = "") -> Iterator[Listed]:
        """The same with sizes and times."""
        ...

    def delete(self, key: str) -> None:
        """Remove an object; harmless when it is not there."""
        ...

    def check(self) -> None:
        """One cheap request that fails with a clear error when the store cannot be used."""
        ...

    def close(self) -> None:
        """Release connections."""
        ...
