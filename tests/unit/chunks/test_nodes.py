"""Directory nodes and their canonical form."""

from __future__ import annotations

import pytest

from pollinator.chunks.cut import Content
from pollinator.chunks.digest import EMPTY, digest_of
from pollinator.chunks.nodes import (
    MAX_CHUNKS,
    MAX_ENTRIES,
    DirEntry,
    Entry,
    FileEntry,
    LinkEntry,
    check_name,
    encode_directory,
    place_chunks,
    shown,
)
from pollinator.v1.tree_pb2 import Chunk, ChunkList, Directory, FileNode, Hole
from pollinator.wire.errors import Corrupt

INLINE = Content(b"text", (), (), 4)


def encode(entries: dict[bytes, Entry]) -> tuple[bytes, dict[bytes, bytes]]:
    nodes: dict[bytes, bytes] = {}

    def keep(digest: bytes, data: bytes) -> None:
        assert digest_of(data) == digest
        nodes[digest] = data

    return encode_directory(entries, keep), nodes


def test_an_empty_directory_has_the_digest_of_nothing() -> None:
    digest, _ = encode({})

    assert digest == EMPTY


def test_the_order_of_entries_does_not_matter() -> None:
    entries: dict[bytes, Entry] = {
        b"b": FileEntry(0o644, INLINE),
        b"a": LinkEntry(b"b"),
        b"\xff": DirEntry(0o755, EMPTY),
        b"c": FileEntry(0o755, INLINE),
    }

    assert encode(entries)[0] == encode(dict(reversed(entries.items())))[0]


def test_the_encoding_is_pinned() -> None:
    """Other programs and later versions must give the same tree the same digest."""
    chunk = digest_of(b"chunk")
    entries: dict[bytes, Entry] = {
        b"file": FileEntry(0o640, Content(b"", ((chunk, 5000),), ((0, 1000),), 6000)),
        b"small": FileEntry(0o755, INLINE),
        b"link": LinkEntry(b"../x"),
        b"folder": DirEntry(0o700, EMPTY),
    }
    digest, nodes = encode(entries)
    file = bytes.fromhex("0a0466696c6510f02e18a0032a250a20") + chunk + bytes.fromhex("1088273a0310e807")
    small = bytes.fromhex("0a05736d616c6c100418ed032204") + b"text"
    folder = bytes.fromhex("0a06666f6c6465721220") + EMPTY + bytes.fromhex("18c003")
    link = bytes.fromhex("0a046c696e6b1204") + b"../x"
    expected = b"".join(
        bytes([field << 3 | 2, len(part)]) + part
        for field, part in ((1, file), (1, small), (2, folder), (3, link))
    )

    assert nodes[digest] == expected


@pytest.mark.parametrize(
    "other",
    [
        FileEntry(0o755, INLINE),
        FileEntry(0o644, Content(b"texT", (), (), 4)),
        LinkEntry(b"text"),
        DirEntry(0o644, EMPTY),
    ],
)
def test_kind_mode_and_content_are_part_of_the_identity(other: Entry) -> None:
    assert encode({b"name": FileEntry(0o644, INLINE)})[0] != encode({b"name": other})[0]


def test_bits_beyond_permissions_are_not_kept() -> None:
    assert encode({b"f": FileEntry(0o4755, INLINE)})[0] == encode({b"f": FileEntry(0o755, INLINE)})[0]


def big_directory(count: int) -> dict[bytes, Entry]:
    return {b"%06d" % at: FileEntry(0o644, INLINE) for at in range(count)}


def test_a_directory_of_usual_size_is_one_node() -> None:
    _, nodes = encode(big_directory(MAX_ENTRIES))

    assert len(nodes) == 1


def test_one_change_in_a_big_directory_changes_one_piece_of_it() -> None:
    entries = big_directory(20_000)
    digest, before = encode(entries)
    entries[b"010000"] = FileEntry(0o600, INLINE)

    _, after = encode(entries)
    changed = after.keys() - before.keys()

    assert len(Directory.FromString(before[digest]).parts) > 20
    assert len(changed) == 2
    assert sum(len(after[each]) for each in changed) < len(b"".join(before.values())) / 10


def test_one_new_name_in_a_big_directory_changes_one_piece_of_it() -> None:
    entries = big_directory(20_000)
    _, before = encode(entries)
    _, after = encode({**entries, b"010000.new": FileEntry(0o644, INLINE)})

    # A new name may end a piece, and so make two of one.
    assert 2 <= len(after.keys() - before.keys()) <= 3


def test_pieces_of_a_big_directory_hold_all_its_entries_in_order() -> None:
    entries = big_directory(5000)
    digest, nodes = encode(entries)
    pieces = [Directory.FromString(nodes[part.digest]) for part in Directory.FromString(nodes[digest]).parts]

    assert [file.name for piece in pieces for file in piece.files] == sorted(entries)
    assert max(len(piece.files) for piece in pieces) <= MAX_ENTRIES


def test_the_chunks_of_a_huge_file_are_kept_in_lists() -> None:
    chunks = tuple((digest_of(b"%d" % at), 1000) for at in range(5000))
    entries: dict[bytes, Entry] = {b"huge": FileEntry(0o644, Content(b"", chunks, (), 5_000_000))}
    digest, nodes = encode(entries)
    file = Directory.FromString(nodes[digest]).files[0]
    found = [
        (chunk.digest, chunk.size)
        for piece in file.chunk_lists
        for chunk in ChunkList.FromString(nodes[piece]).chunks
    ]

    assert not file.chunks
    assert found == list(chunks)


def test_the_chunks_of_a_large_file_are_in_its_node() -> None:
    chunks = tuple((digest_of(b"%d" % at), 1000) for at in range(MAX_CHUNKS))
    digest, nodes = encode({b"large": FileEntry(0o644, Content(b"", chunks, (), 1000 * MAX_CHUNKS))})

    assert len(Directory.FromString(nodes[digest]).files[0].chunks) == MAX_CHUNKS


@pytest.mark.parametrize("name", [b"", b".", b"..", b"a/b", b"/", b"a\0b"])
def test_what_could_lead_out_of_a_directory_is_no_name(name: bytes) -> None:
    with pytest.raises(Corrupt) as caught:
        check_name(name)

    assert caught.value.reason == "bad_name"


@pytest.mark.parametrize("name", [b"...", b"a b", b"\xff\n", "\N{SNOWMAN}".encode(), b"..a"])
def test_odd_names_are_names(name: bytes) -> None:
    assert check_name(name) == name


def test_bytes_that_are_no_text_are_shown_as_escapes() -> None:
    assert shown(b"a\xff/\xc3\xa9") == "a\\xff/\N{LATIN SMALL LETTER E WITH ACUTE}"


def node(size: int, chunks: list[int], holes: list[tuple[int, int]], inline: bytes = b"") -> FileNode:
    return FileNode(
        name=b"f",
        size=size,
        inline=inline,
        chunks=[Chunk(digest=EMPTY, size=length) for length in chunks],
        holes=[Hole(offset=offset, length=length) for offset, length in holes],
    )


def test_chunks_fill_what_is_no_hole() -> None:
    file = node(100, [10, 20], [(0, 5), (15, 35), (70, 20), (90, 10)])

    assert [offset for offset, _ in place_chunks(file, file.chunks)] == [5, 50]


@pytest.mark.parametrize(
    "file",
    [
        node(100, [10], []),
        node(100, [100, 1], []),
        node(100, [60], [(50, 40)]),
        node(100, [50], [(50, 40)]),
        node(100, [90], [(0, 5), (0, 5)]),
        node(100, [10], [(200, 90)]),
        node(4, [], [], inline=b"texts"),
        node(8, [4], [], inline=b"text"),
        node(10, [0, 10], []),
    ],
)
def test_chunks_and_holes_that_make_up_no_file_are_refused(file: FileNode) -> None:
    with pytest.raises(Corrupt) as caught:
        list(place_chunks(file, file.chunks))

    assert caught.value.reason == "bad_file"
