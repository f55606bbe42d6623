"""Packs: one stored object that holds many chunks and says at its end what it holds.

``magic | frames | zstd(footer) | length of that (u32, little endian) | BLAKE3 of the footer | magic``
The bytes of the format are here and nowhere else; docs/store.md describes them.
"""

from __future__ import annotations

import secrets
import struct
from collections.abc import Callable, Container, Sequence

import zstandard
from google.protobuf.message import DecodeError

from pollinator.chunks.digest import digest_of
from pollinator.chunks.keys import pack_key
from pollinator.v1.tree_pb2 import Codec, PackEntry, PackFooter, PackIndex, Snapshot
from pollinator.wire.errors import Corrupt, WrongState

MAGIC = b"PLNPACK1"
VERSION = 1
_TAIL = struct.Struct("<I32s8s")

SMALL_BYTES = 256 * 1024
TRY_BYTES = 64 * 1024
"""Of a chunk that is not small only so much is compressed at first, to see whether it pays."""
PATIENCE = 16
EACH = 8
"""After so many chunks in a row for which it did not pay, of the small ones only each eighth is tried: for a
folder of images that would cost as much again as to read them."""
WORTH = 0.97
LEVEL = 1

MAX_CHUNK_BYTES = 64 * 1024 * 1024
MAX_FOOTER_BYTES = 256 * 1024 * 1024
"""Far above anything that is written: what claims to be larger when unpacked is damaged or hostile."""


_PLAIN, _ZSTD = Codec.CODEC_UNSPECIFIED, Codec.CODEC_ZSTD
"""To look these up in the enum takes longer than to add a small chunk."""


class PackBuilder:
    """Frames of one pack in the making.

    Args:
        writer: name and version of this program.
        buffer: memory to build it in, whatever it holds: that of an earlier pack is there already, while the
            system has to find and clear new memory, which costs more than to fill it.
    """

    def __init__(self, writer: str, buffer: bytearray | None = None) -> None:
        self._buffer = bytearray() if buffer is None else buffer
        self.size = 0
        self._append(MAGIC)
        self._footer = PackFooter(version=VERSION, writer=writer)
        self._compressor = zstandard.ZstdCompressor(level=LEVEL)
        self._plain = 0
        """Chunks in a row that are not compressed."""

    @property
    def chunks(self) -> int:
        """How many chunks are in it."""
        return len(self._footer.entries)

    def add(self, digest: bytes, data: bytes | memoryview) -> None:
        """Append one chunk."""
        stored, codec = self._encode(data)
        # Made in place and not copied: there may be tens of thousands in a pack.
        self._footer.entries.add(
            digest=digest, offset=self.size, stored_size=len(stored), size=len(data), codec=codec
        )
        self._append(stored)

    def finish(
        self,
        kind: str,
        *,
        snapshot: Snapshot | None = None,
        packs: Sequence[PackIndex] = (),
        indexes: Sequence[str] = (),
        avoid: Container[str] = (),
    ) -> tuple[PackIndex, memoryview]:
        """Close the pack; returns what it holds under which key, and the object's bytes, in the buffer.

        Args:
            kind: one of the kinds in ``keys``.
            snapshot: the snapshot it publishes.
            packs: rows of other packs.
            indexes: keys of index objects that list the rest.
            avoid: keys that it must not have: what is there under them is to be removed.
        """
        if snapshot is not None:
            self._footer.snapshot.CopyFrom(snapshot)
        self._footer.packs.extend(packs)
        self._footer.indexes.extend(indexes)
        footer = self._footer.SerializeToString(deterministic=True)
        name = digest_of(footer)
        while pack_key(kind, name) in avoid:
            self._footer.salt = secrets.token_bytes(8)
            footer = self._footer.SerializeToString(deterministic=True)
            name = digest_of(footer)
        stored = self._compressor.compress(footer)
        self._append(stored)
        self._append(_TAIL.pack(len(stored), name, MAGIC))
        body = memoryview(self._buffer)[: self.size]
        return PackIndex(key=pack_key(kind, name), entries=self._footer.entries), body

    def _append(self, data: bytes | memoryview) -> None:
        """Write into the buffer, which grows when it is full."""
        start = self.size
        self.size += len(data)
        fits = min(len(data), len(self._buffer) - start)
        self._buffer[start : start + fits] = data[:fits]
        self._buffer += data[fits:]

    def _encode(self, data: bytes | memoryview) -> tuple[bytes | memoryview, Codec.ValueType]:
        if len(data) > SMALL_BYTES or self._plain < PATIENCE or not self._plain % EACH:
            packed = self._packed(data)
            if packed is not None:
                self._plain = 0
                return packed, _ZSTD
        self._plain += 1
        return data, _PLAIN

    def _packed(self, data: bytes | memoryview) -> bytes | None:
        """Compressed, if that pays."""
        if len(data) > SMALL_BYTES:
            sample = data[:TRY_BYTES]
            if len(self._compressor.compress(sample)) > WORTH * len(sample):
                return None
        packed = self._compressor.compress(data)
        return packed if len(packed) <= WORTH * len(data) else None


def footer_reach(tail: bytes) -> int:
    """How many bytes the end of a pack takes, from the footer on, as the pack's last bytes say."""
    return _TAIL.size + _TAIL.unpack(tail[-_TAIL.size :])[0] if len(tail) >= _TAIL.size else 0


def parse_footer(key: str, body: bytes | memoryview) -> PackFooter:
    """The footer of a pack, from all of its bytes or enough of the last ones.

    Raises:
        Corrupt: the bytes are not those that ``key`` names.
        WrongState: it was written by a newer version in another format.
    """
    try:
        length, name, magic = _TAIL.unpack(body[-_TAIL.size :])
        if magic != MAGIC or pack_key(key[:1], name) != key:
            raise Corrupt(f"{key} is not the pack its name says", reason="bad_pack")
        end = len(body) - _TAIL.size
        plain = _unpack(body[max(0, end - length) : end], MAX_FOOTER_BYTES)
    except (struct.error, zstandard.ZstdError) as error:
        raise Corrupt(f"{key} is damaged: {error}", reason="bad_pack") from error
    if digest_of(plain) != name:
        raise Corrupt(f"{key} is damaged: its footer is not the one its name says", reason="bad_pack")
    try:
        footer = PackFooter.FromString(plain)
    except DecodeError as error:
        raise Corrupt(f"{key} holds no footer: {error}", reason="bad_pack") from error
    if footer.version > VERSION:
        raise WrongState(
            f"{key} has format {footer.version}; this version reads up to {VERSION}",
            reason="newer_format",
            hint=f"update this side: it was written by {footer.writer}",
        )
    return footer


def decode(
    key: str, entry: PackEntry, stored: bytes | memoryview, unpacker: zstandard.ZstdDecompressor | None = None
) -> bytes | memoryview:
    """The plain bytes of a stored chunk, verified; what is not compressed is not copied either.

    Args:
        key: of the pack, for messages.
        entry: the chunk.
        stored: its bytes in the pack.
        unpacker: belongs to this thread; to make one takes longer than to unpack a small chunk.

    Raises:
        Corrupt: they are not those its digest names.
    """
    data = stored
    if entry.codec == _ZSTD:
        try:
            data = _unpack(stored, min(entry.size, MAX_CHUNK_BYTES), unpacker)
        except zstandard.ZstdError as error:
            raise _damaged(key, entry, str(error)) from error
    if len(data) != entry.size or digest_of(data) != entry.digest:
        raise _damaged(key, entry, "these are not its bytes")
    return data


def _damaged(key: str, entry: PackEntry, why: str) -> Corrupt:
    where = f"chunk {entry.digest.hex()} in {key} at {entry.offset}"
    return Corrupt(f"{where} is damaged: {why}", reason="bad_chunk", about=key)


def mended(key: str, body: bytes, chunk: Callable[[bytes], bytes]) -> bytes:
    """The bytes that the key names again: damaged frames are made anew.

    Args:
        key: of the pack.
        body: its bytes, of which frames are damaged.
        chunk: the plain bytes of a chunk, from elsewhere.

    Raises:
        Corrupt: its footer is damaged, too, or a chunk cannot be had, or compresses otherwise today.
        NotFound: a chunk cannot be had.
    """
    whole = bytearray(body)
    compressor = zstandard.ZstdCompressor(level=LEVEL)
    for entry in parse_footer(key, body).entries:
        end = entry.offset + entry.stored_size
        try:
            decode(key, entry, body[entry.offset : end])
        except Corrupt as damage:
            data = chunk(entry.digest)
            frame = compressor.compress(data) if entry.codec == _ZSTD else data
            if len(frame) != entry.stored_size:
                raise damage
            whole[entry.offset : end] = frame
    return bytes(whole)


def verify(key: str, body: bytes | memoryview) -> None:
    """Check every byte of a pack against its key.

    Raises:
        Corrupt: it is not what ``key`` names.
    """
    view, unpacker = memoryview(body), zstandard.ZstdDecompressor()
    for entry in parse_footer(key, body).entries:
        decode(key, entry, view[entry.offset : entry.offset + entry.stored_size], unpacker)


def _unpack(
    stored: bytes | memoryview, limit: int, unpacker: zstandard.ZstdDecompressor | None = None
) -> bytes:
    """One zstd frame, whose header says how long its content is; never more than ``limit`` bytes."""
    size = zstandard.frame_content_size(stored)
    if not 0 <= size <= limit:
        raise zstandard.ZstdError(f"its frame claims to hold {size} bytes, more than the {limit} it may")
    # A frame without content makes decompress guess; there is nothing to do for it.
    if not size:
        return b""
    return (unpacker or zstandard.ZstdDecompressor()).decompress(stored, max_output_size=size)
