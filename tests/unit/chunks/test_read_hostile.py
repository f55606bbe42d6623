"""Reading trees that no honest writer makes."""

from __future__ import annotations

import pytest

from pollinator.chunks.digest import EMPTY, digest_of
from pollinator.chunks.read import SnapshotReader
from pollinator.chunks.upload import Uploader
from pollinator.v1.tree_pb2 import (
    Directory,
    DirectoryNode,
    DirectoryPart,
    FileNode,
    Snapshot,
    SymlinkNode,
    Tree,
)
from pollinator.wire.errors import Corrupt
from support.storing import MemoryStore


def hostile(node: Directory | bytes, *more: Directory) -> tuple[SnapshotReader, Tree]:
    """A reader on a tree that no honest writer makes."""
    store = MemoryStore()
    uploader = Uploader(store, on_stored=lambda row: None)
    encoded = [
        each if isinstance(each, bytes) else each.SerializeToString(deterministic=True)
        for each in (node, *more)
    ]
    for data in encoded:
        uploader.add(digest_of(data), data)
    ref = uploader.publish(Snapshot(version=1), [], [])
    uploader.close()
    reader = SnapshotReader(store)
    reader.open(ref)
    return reader, Tree(digest=digest_of(encoded[0]))


@pytest.mark.parametrize("name", [b"..", b".", b"", b"a/b", b"/etc/passwd", b"a\0"])
def test_names_that_lead_out_of_a_tree_are_refused(name: bytes) -> None:
    for node in (
        Directory(files=[FileNode(name=name)]),
        Directory(directories=[DirectoryNode(name=name, digest=EMPTY)]),
        Directory(symlinks=[SymlinkNode(name=name, target=b"x")]),
    ):
        reader, tree = hostile(node)
        with pytest.raises(Corrupt) as caught:
            list(reader.walk(tree))

        assert caught.value.reason == "bad_name"


def test_the_same_name_twice_in_a_directory_is_refused() -> None:
    node = Directory(
        directories=[DirectoryNode(name=b"a", digest=EMPTY)], symlinks=[SymlinkNode(name=b"a", target=b"/")]
    )
    reader, tree = hostile(node)

    with pytest.raises(Corrupt) as caught:
        list(reader.walk(tree))

    assert caught.value.reason == "bad_tree"


def test_the_same_name_in_two_pieces_of_a_directory_is_refused() -> None:
    piece = Directory(files=[FileNode(name=b"a")])
    digest = digest_of(piece.SerializeToString(deterministic=True))
    whole = Directory(parts=[DirectoryPart(digest=digest), DirectoryPart(digest=digest)])
    reader, tree = hostile(whole, piece)

    with pytest.raises(Corrupt) as caught:
        list(reader.walk(tree))

    assert caught.value.reason == "bad_tree"


def test_a_chunk_that_is_no_directory_is_refused() -> None:
    reader, tree = hostile(b"\xff" * 20)

    with pytest.raises(Corrupt) as caught:
        list(reader.walk(tree))

    assert caught.value.reason == "bad_tree"
