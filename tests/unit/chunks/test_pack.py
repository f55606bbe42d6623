"""The bytes of packs."""

from __future__ import annotations

import struct

import pytest
import zstandard

from pollinator.chunks.digest import digest_of
from pollinator.chunks.keys import pack_key
from pollinator.chunks.pack import EACH, MAGIC, PATIENCE, PackBuilder, decode, parse_footer, verify
from pollinator.executors.conformance.trees import random_bytes
from pollinator.v1.tree_pb2 import Codec, PackEntry, PackFooter, PackIndex, Snapshot
from pollinator.wire.errors import Corrupt, WrongState

TEXT = b"the same words again and again\n" * 50
NOISE = random_bytes(1000)


def pack(*chunks: bytes, kind: str = "p") -> tuple[PackIndex, bytes]:
    builder = PackBuilder("test 1")
    for chunk in chunks:
        builder.add(digest_of(chunk), chunk)
    row, body = builder.finish(kind)
    return row, bytes(body)


def sealed(footer: PackFooter, frames: bytes = b"", kind: str = "p") -> tuple[str, bytes]:
    """A pack with any footer, as a hostile writer could make it."""
    plain = footer.SerializeToString(deterministic=True)
    stored = zstandard.ZstdCompressor().compress(plain)
    tail = struct.pack("<I32s8s", len(stored), digest_of(plain), MAGIC)
    return pack_key(kind, digest_of(plain)), MAGIC + frames + stored + tail


def test_every_chunk_comes_back_from_where_the_footer_says() -> None:
    row, body = pack(TEXT, NOISE, b"")
    found = [
        decode(row.key, each, body[each.offset : each.offset + each.stored_size]) for each in row.entries
    ]

    assert [TEXT, NOISE, b""] == found
    assert list(parse_footer(row.key, body).entries) == list(row.entries)


def test_only_what_gets_smaller_is_compressed() -> None:
    large_noise, large_text = random_bytes(600_000), TEXT * 400
    row, body = pack(TEXT, NOISE, large_noise, large_text)
    codecs = [entry.codec for entry in row.entries]

    assert codecs == [
        Codec.CODEC_ZSTD,
        Codec.CODEC_UNSPECIFIED,
        Codec.CODEC_UNSPECIFIED,
        Codec.CODEC_ZSTD,
    ]
    assert len(body) < len(large_noise) + 20_000


def test_after_much_that_gets_no_smaller_small_chunks_are_tried_now_and_then() -> None:
    noise = [random_bytes(900 + size) for size in range(PATIENCE + 1)]
    large_text, texts = TEXT * 400, [TEXT + bytes([number]) for number in range(3 * EACH)]
    beside_large, _ = pack(*noise, large_text)
    row, _ = pack(*noise, *texts)
    codecs = [entry.codec for entry in row.entries[len(noise) :]]
    first = codecs.index(Codec.CODEC_ZSTD)

    assert beside_large.entries[-1].codec == Codec.CODEC_ZSTD
    assert 0 < first < EACH
    assert [Codec.CODEC_ZSTD] * (len(texts) - first) == codecs[first:]


def test_a_pack_has_the_published_layout() -> None:
    """What docs/store.md says, read without the program."""
    row, body = pack(TEXT, NOISE)
    (length,) = struct.unpack("<I", body[-44:-40])
    footer = zstandard.ZstdDecompressor().decompress(body[-44 - length : -44])

    assert body[:8] == b"PLNPACK1" == body[-8:]
    assert body[-40:-8] == digest_of(footer)
    assert row.key == f"p/{digest_of(footer).hex()[:2]}/{digest_of(footer).hex()}"
    assert [8, row.entries[0].stored_size + 8] == [entry.offset for entry in row.entries]


def test_the_same_chunks_make_the_same_pack() -> None:
    assert pack(TEXT, NOISE) == pack(TEXT, NOISE)


def test_a_snapshot_pack_carries_snapshot_rows_and_indexes() -> None:
    row, _ = pack(TEXT)
    snapshot = Snapshot(version=1, git_commit="abc")
    published, body = PackBuilder("test 1").finish("s", snapshot=snapshot, packs=[row], indexes=["i/x"])
    footer = parse_footer(published.key, body)

    assert (footer.snapshot, list(footer.packs), list(footer.indexes)) == (snapshot, [row], ["i/x"])


@pytest.mark.parametrize("where", ["magic", "frames", "footer", "tail"])
def test_a_changed_byte_is_found_wherever_it_is(where: str) -> None:
    row, body = pack(TEXT, NOISE)
    footer = row.entries[-1].offset + row.entries[-1].stored_size
    at = {"magic": len(body) - 1, "frames": 500, "footer": footer + 20, "tail": len(body) - 20}[where]
    damaged = body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]

    with pytest.raises(Corrupt):
        verify(row.key, damaged)
    verify(row.key, body)


@pytest.mark.parametrize("cut", [0, 7, 43, 44, 100])
def test_a_pack_cut_short_is_damaged(cut: int) -> None:
    row, body = pack(TEXT, NOISE)

    with pytest.raises(Corrupt) as caught:
        parse_footer(row.key, body[:cut])

    assert caught.value.reason == "bad_pack"


def test_a_pack_under_another_name_is_refused() -> None:
    _, body = pack(TEXT)
    other, _ = pack(NOISE)

    with pytest.raises(Corrupt) as caught:
        parse_footer(other.key, body)

    assert caught.value.reason == "bad_pack"


def test_a_damaged_chunk_is_named_with_its_place() -> None:
    row, _ = pack(NOISE)

    with pytest.raises(Corrupt) as caught:
        decode(row.key, row.entries[0], b"x" * len(NOISE))

    assert caught.value.reason == "bad_chunk"
    for part in (row.key, "at 8", digest_of(NOISE).hex()):
        assert part in caught.value.message


def test_a_frame_that_claims_to_hold_more_than_it_may_is_not_unpacked() -> None:
    bomb = zstandard.ZstdCompressor(level=19).compress(bytes(1 << 26))
    entry = PackEntry(
        digest=digest_of(b""), offset=8, stored_size=len(bomb), size=1000, codec=Codec.CODEC_ZSTD
    )

    with pytest.raises(Corrupt) as caught:
        decode("p/00/x", entry, bomb)

    assert "claims to hold" in caught.value.message


def test_a_format_of_a_later_version_is_not_guessed_at() -> None:
    key, body = sealed(PackFooter(version=2, writer="pollinator 9"))

    with pytest.raises(WrongState) as caught:
        parse_footer(key, body)

    assert caught.value.reason == "newer_format"
    assert "pollinator 9" in caught.value.hint


def test_a_footer_that_is_no_message_is_damaged() -> None:
    plain = b"\xff\xff\xff"
    stored = zstandard.ZstdCompressor().compress(plain)
    body = MAGIC + stored + struct.pack("<I32s8s", len(stored), digest_of(plain), MAGIC)

    with pytest.raises(Corrupt) as caught:
        parse_footer(pack_key("p", digest_of(plain)), body)

    assert caught.value.reason == "bad_pack"


def test_entries_that_point_outside_of_the_pack_are_damaged() -> None:
    entry = PackEntry(digest=digest_of(NOISE), offset=1 << 40, stored_size=1000, size=1000)
    key, body = sealed(PackFooter(version=1, entries=[entry]))

    with pytest.raises(Corrupt):
        verify(key, body)
