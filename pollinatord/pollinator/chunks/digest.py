"""The one hash that names things: BLAKE3-256. A crafted file must not be able to replace another's bytes."""

from __future__ import annotations

from blake3 import blake3

DIGEST_BYTES = 32


def digest_of(data: bytes | memoryview) -> bytes:
    """32 raw bytes that name ``data``."""
    return blake3(data).digest()


EMPTY = digest_of(b"")
"""Name of no bytes at all."""
