"""Trees that are easy to write down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from tempfile import TemporaryFile

from pollinator.chunks.cut import Content, cut
from pollinator.chunks.nodes import DirEntry, Entry, FileEntry, LinkEntry, encode_directory
from pollinator.chunks.upload import Uploader


@dataclass(frozen=True)
class Link:
    """A symbolic link."""

    target: bytes


@dataclass(frozen=True)
class File:
    """A file with a mode of its own."""

    data: bytes
    mode: int = 0o644


@dataclass(frozen=True)
class Folder:
    """A folder with a mode of its own."""

    listing: Listing
    mode: int = 0o755


Listing = Mapping[bytes, "bytes | File | Link | Folder | Listing | Content"]


def content_of(data: bytes, uploader: Uploader | None = None) -> Content:
    """Cut some bytes as if they were a file; chunks go to the uploader."""
    with TemporaryFile() as file:
        file.write(data)
        file.flush()
        return cut(file.fileno(), len(data), uploader.add if uploader else lambda digest, data: None)


def store_tree(listing: Listing, uploader: Uploader) -> bytes:
    """Digest of a tree written down as names and contents; its chunks and nodes go to the uploader."""
    entries: dict[bytes, Entry] = {}
    for name, what in listing.items():
        match what:
            case bytes():
                entries[name] = FileEntry(0o644, content_of(what, uploader))
            case File(data, mode):
                entries[name] = FileEntry(mode, content_of(data, uploader))
            case Content():
                entries[name] = FileEntry(0o644, what)
            case Link(target):
                entries[name] = LinkEntry(target)
            case Folder(below, mode):
                entries[name] = DirEntry(mode, store_tree(below, uploader))
            case Mapping():
                entries[name] = DirEntry(0o755, store_tree(what, uploader))
    return encode_directory(entries, uploader.add)


def random_bytes(size: int, seed: bytes = b"") -> bytes:
    """Bytes that cannot be compressed and are the same every time."""
    from blake3 import blake3

    return blake3(b"random bytes" + seed).digest(length=size)
