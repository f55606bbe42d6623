"""Pages: how the pods of a run and its executor tell each other things where they share nothing but a store.

Each side numbers its own pages from 1 and writes each of them once. A page is on disk before it is put, so
whoever is killed, or has heard no answer, puts the same bytes again; whoever reads asks for the next number
and notes how far it is. So nothing is lost, told twice or out of order, whatever ends in between, and no
order in which a store carries out what it was asked for can change that.

``magic | BLAKE3 of the rest | length of the head (u32, little endian) | head (JSON) | bytes of output``.
"""

from __future__ import annotations

import contextlib
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pollinator.chunks.digest import DIGEST_BYTES, digest_of
from pollinator.chunks.keys import page_key
from pollinator.chunks.store import Store
from pollinator.executors.records import read_record, write_json, write_private
from pollinator.wire.errors import Corrupt, NotFound
from pollinator.wire.faults import crash_point

MAGIC = b"PLNTALK1"
HEAD_BYTES = 256 * 1024
"""No head is longer."""
PAGE_BYTES = 4 * 1024 * 1024
"""At most so many bytes of output and journal are in one page."""
LONGEST = len(MAGIC) + DIGEST_BYTES + 4 + HEAD_BYTES + PAGE_BYTES
JOURNAL = -1
"""Stands for the journal of a node among what its ranks print: it only ever grows, too."""
WORDS = "-words"
"""Behind the name of a pod: what the executor tells it."""

_LENGTH = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Piece:
    """What a rank has printed, or its supervisor noted."""

    rank: int
    """Whose it is, or ``JOURNAL``."""
    offset: int
    """Where it is in all that came from there, in this pod."""
    data: bytes


@dataclass(frozen=True, slots=True)
class Page:
    """What is told at once."""

    output: Sequence[Piece] = ()
    """What was printed before a line of the journal was written is here or in an earlier page."""
    files: Mapping[str, str] = field(default_factory=dict[str, str])
    """Texts for files of the other side, by their names."""
    about: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Whatever else there is to tell."""


def encode(page: Page) -> bytes:
    """The object's bytes.

    Raises:
        ValueError: it is too long.
    """
    pieces = [[each.rank, each.offset, len(each.data)] for each in page.output]
    head = json.dumps({"output": pieces, "files": dict(page.files), "about": dict(page.about)}).encode()
    data = b"".join(each.data for each in page.output)
    if len(head) > HEAD_BYTES or len(data) > PAGE_BYTES:
        raise ValueError("a page is too long")
    rest = _LENGTH.pack(len(head)) + head + data
    return MAGIC + digest_of(rest) + rest


def decode(key: str, body: bytes) -> Page:
    """A page.

    Raises:
        Corrupt: these bytes are none.
    """
    start = len(MAGIC) + DIGEST_BYTES
    rest = memoryview(body)[start:]
    if body[: len(MAGIC)] != MAGIC or len(body) > LONGEST or digest_of(rest) != body[len(MAGIC) : start]:
        raise Corrupt(f"{key} is damaged", reason="bad_page")
    try:
        length = _LENGTH.unpack_from(rest)[0]
        head = json.loads(bytes(rest[_LENGTH.size : _LENGTH.size + length]))
        output, at = list[Piece](), _LENGTH.size + length
        for rank, offset, size in head["output"]:
            data = bytes(rest[at : at + _natural(size)])
            output.append(Piece(rank if rank == JOURNAL else _natural(rank), _natural(offset), data))
            at += size
        files = {str(name): str(text) for name, text in head["files"].items()}
        about = dict(head["about"])
    except (struct.error, ValueError, TypeError, KeyError, AttributeError) as error:
        raise Corrupt(f"{key} is no page: {error}", reason="bad_page") from error
    if at != len(rest):
        raise Corrupt(f"{key} is not as long as it says", reason="bad_page")
    return Page(output, files, about)


class Outgoing:
    """Pages that this side writes. Belongs to one thread at a time.

    Args:
        folder: where it notes what it has told; nobody else writes there.
        run_id: of the run.
        writer: the name of this side, which nobody else has.
    """

    def __init__(self, folder: Path, run_id: str, writer: str) -> None:
        self._run_id = run_id
        self._writer = writer
        self._told = folder / "told.json"
        self._page = folder / "page"
        known = read_record(self._told) or {}
        self.number = int(known.get("number", 0))
        """How many pages the store has."""
        self.state: dict[str, Any] = dict(known.get("state", {}))
        """What this side knew of itself when it wrote the last of them."""

    def send(self, store: Store, page: Page, state: Mapping[str, Any]) -> None:
        """Have a page in the store, after those that were not known to be there.

        Args:
            store: where.
            page: what is told.
            state: what this side has told then; it is ``state`` from the moment the page may be there.

        Raises:
            PollinatorError: the store does not take it. Nothing is lost: ``settle`` goes on with it.
            OSError: it cannot be written down here.
        """
        self.settle(store)
        note = json.dumps({"number": self.number + 1, "state": dict(state)}).encode()
        write_private(self._page, _LENGTH.pack(len(note)) + note + encode(page), durable=True)
        crash_point("before_page")
        self.settle(store)

    def settle(self, store: Store) -> None:
        """Have what was written down in the store; harmless when it is there.

        Raises:
            PollinatorError: the store does not take it.
        """
        try:
            kept = self._page.read_bytes()
        except FileNotFoundError:
            return
        length = _LENGTH.unpack_from(kept)[0]
        note = json.loads(kept[_LENGTH.size : _LENGTH.size + length])
        if note["number"] > self.number:
            key = page_key(self._run_id, self._writer, note["number"])
            store.put(key, memoryview(kept)[_LENGTH.size + length :])
            crash_point("after_page")
            write_json(self._told, note, durable=True)
            self.number, self.state = note["number"], dict(note["state"])
        self._page.unlink()


class Incoming:
    """Pages that the other side writes. Belongs to one thread at a time.

    Args:
        run_id: of the run.
        writer: the name of the other side.
        number: how many of its pages were read.
    """

    def __init__(self, run_id: str, writer: str, number: int = 0) -> None:
        self._run_id = run_id
        self._writer = writer
        self.number = number

    def next(self, store: Store) -> Page | None:
        """The next page if it is there. The same again until ``number`` is raised.

        Raises:
            PollinatorError: the store does not answer, or has something else there.
        """
        key = page_key(self._run_id, self._writer, self.number + 1)
        with contextlib.suppress(NotFound):
            return self._read(store, key)
        return None

    @staticmethod
    def _read(store: Store, key: str) -> Page:
        try:
            return decode(key, store.get(key, 0, LONGEST + 1))
        except NotFound as error:
            if error.reason != "object_missing":
                raise Corrupt(error.message, reason=error.reason, hint=error.hint) from error
            raise
        except Corrupt:
            # Damaged on its way, perhaps: once more from the store.
            return decode(key, store.get(key, 0, LONGEST + 1))


def _natural(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{value!r} is no number")
    return value
