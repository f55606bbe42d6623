"""The hash that names everything."""

from __future__ import annotations

from pollinator.chunks.digest import EMPTY, digest_of


def test_nothing_has_the_published_blake3_digest() -> None:
    assert EMPTY.hex() == "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"


def test_a_view_has_the_digest_of_its_bytes() -> None:
    data = b"some bytes"

    assert digest_of(data[5:]) == digest_of(memoryview(data)[5:])
