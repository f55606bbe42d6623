"""Packs: one stored object that holds many chunks and says at its end what it holds.

``magic | frames | zstd(footer) | length of that (u32, little endian) | BLAKE3 of the footer | magic``
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import zstandard

from pollinator.chunks.digest import digest_of
from pollinator.v1.tree_pb2 import Codec, PackEntry, PackFooter, PackIndex, Snapshot
from pollinator.wire.errors import Corrupt

MAGIC = b"PLNPACK1"
VERSION = 1
_TAIL = struct.Struct("<I32s8s")

TRY_BYTES = 64 * 1024
"""Of a big chunk only so much is compressed at first, to see whether it pays."""
WORTH = 0.97
LEVEL = 1


class PackBuilder:
    """Frames of one pack in the making."""

    def __init__(self, writer: str) -> None:
        self._writer = writer
        self._parts: list[bytes] = [MAGIC]
        self._footer = PackFooter(version=VERSION, writer=writer)
        self._compressor = zstandard.ZstdCompressor(level=LEVEL)
        self.size = len(MAGIC)

    @property
    def chunks(self) -> int:
        """How many chunks are in it."""
        return len(self._footer.entries)

    def add(self, digest: bytes, data: bytes) -> None:
        """Append one chunk."""
        stored, codec = self._encode(data)
        entry = PackEntry(
            digest=digest, offset=self.size, stored_size=len(stored), size=len(data), codec=codec
        )
        self._footer.entries.append(entry)
        self._parts.append(stored)
        self.size += len(stored)

    def finish(
        self,
        kind: str,
        *,
        snapshot: Snapshot | None = None,
        packs: Sequence[PackIndex] = (),
        indexes: Sequence[str] = (),
    ) -> tuple[PackIndex, bytes]:
        """Close the pack; returns what it holds under which key, and the object's bytes.

        Args:
            kind: ``p`` for a pack, ``s`` for a snapshot pack, ``i`` for an index object.
            snapshot: the snapshot it publishes.
            packs: rows of other packs.
            indexes: keys of index objects that list the rest.
        """
        if snapshot is not None:
            self._footer.snapshot.CopyFrom(snapshot)
        self._footer.packs.extend(packs)
        self._footer.indexes.extend(indexes)
        footer = self._footer.SerializeToString(deterministic=True)
        name = digest_of(footer)
        stored = self._compressor.compress(footer)
        body = b"".join([*self._parts, stored, _TAIL.pack(len(stored), name, MAGIC)])
        return PackIndex(key=pack_key(kind, name), entries=self._footer.entries), body

    def _encode(self, data: bytes) -> tuple[bytes, Codec.ValueType]:
        if len(data) > 4 * TRY_BYTES:
            sample = data[:TRY_BYTES]
            if len(self._compressor.compress(sample)) > WORTH * len(sample):
                return data, Codec.CODEC_UNSPECIFIED
        packed = self._compressor.compress(data)
        if len(packed) > WORTH * len(data):
            return data, Codec.CODEC_UNSPECIFIED
        return packed, Codec.CODEC_ZSTD


def pack_key(kind: str, name: bytes) -> str:
    """Key of the object with this name."""
    return f"{kind}/{name.hex()[:2]}/{name.hex()}"


def parse_footer(key: str, body: bytes) -> PackFooter:
    """The footer of a whole pack.

    Raises:
        Corrupt: the bytes are not those that ``key`` names.
    """
    try:
        length, name, magic = _TAIL.unpack(body[-_TAIL.size :])
        if magic != MAGIC or pack_key(key[0], name) != key:
            raise Corrupt(f"{key} is not the pack its name says", reason="bad_pack")
        end = len(body) - _TAIL.size
        plain = zstandard.ZstdDecompressor().decompress(body[end - length : end])
    except (struct.error, zstandard.ZstdError) as error:
        raise Corrupt(f"{key} is damaged: {error}", reason="bad_pack") from error
    if digest_of(plain) != name:
        raise Corrupt(f"{key} is damaged: its footer is not the one its name says", reason="bad_pack")
    return PackFooter.FromString(plain)


def decode(key: str, entry: PackEntry, stored: bytes) -> bytes:
    """The plain bytes of a stored chunk, verified.

    Raises:
        Corrupt: they are not those its digest names.
    """
    where = f"{key} at {entry.offset}"
    data = stored
    if entry.codec == Codec.CODEC_ZSTD:
        try:
            data = zstandard.ZstdDecompressor().decompress(stored, max_output_size=entry.size)
        except zstandard.ZstdError as error:
            raise Corrupt(f"{where} is damaged: {error}", reason="bad_chunk") from error
    if len(data) != entry.size or digest_of(data) != entry.digest:
        raise Corrupt(f"{where} does not hold chunk {entry.digest.hex()}", reason="bad_chunk")
    return data
