"""Bringing files into a label: bytes into the bucket, then a revision into the colony.

What is sent is noted before, so that whoever is killed leaves no object that nobody knows.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from pollinator.chunks.read import Data
from pollinator.executors.colonies.client import Client
from pollinator.executors.colonies.contents import Contents, Source
from pollinator.executors.colonies.identity import unique_id
from pollinator.executors.colonies.ledger import Begun, Entry, Ledger
from pollinator.executors.colonies.messages import File, FileRow
from pollinator.executors.colonies.naming import Spot, spot_of
from pollinator.executors.colonies.objects import Objects
from pollinator.executors.colonies.refusals import Unanswered
from pollinator.executors.colonies.together import alongside, in_thread, together
from pollinator.wire.errors import InvalidInput, NotFound, Unavailable

LARGE_BYTES = 8 * 1024 * 1024
"""Files above this size are sent in parts, one file at a time."""
BATCH_FILES = 256
BATCH_BYTES = 16 * 1024 * 1024
"""So much is read ahead of what is sent."""
TRIES = 4
FIRST_PAUSE_S = 0.2


@dataclass(frozen=True, slots=True)
class Desk:
    """A colony, its bucket, and what is known of both."""

    client: Client
    objects: Objects
    ledger: Ledger
    colony: int
    """Its number in the ledger."""
    threads: ThreadPoolExecutor


@dataclass(frozen=True, slots=True)
class _Read:
    """A file that is in memory."""

    path: str
    data: bytes
    sum: str


@dataclass(slots=True)
class _Batch:
    small: list[_Read] = field(default_factory=list[_Read])
    large: tuple[str, Iterator[Data]] | None = None
    """What comes after the small ones, still to be read."""


class Sending:
    """Sends files to one label and those below it.

    Args:
        desk: of the colony.
        root: the label.
        contents: the files.
        rows: what is there, as far as it was just listed: the same need not be sent again.
        told: told the size of each piece that is done.
    """

    def __init__(
        self,
        desk: Desk,
        root: str,
        contents: Contents,
        rows: Mapping[Spot, FileRow],
        told: Callable[[int], object],
    ) -> None:
        self._desk = desk
        self._root = root
        self._contents = contents
        self._rows = rows
        self._told = told

    async def send(self, paths: Collection[str]) -> None:
        """Read these files and see to it that they are there.

        Raises:
            PollinatorError: one of them cannot be read, or not be sent.
        """
        reading = self._contents.read(paths)
        batch = await self._take(reading)
        while batch is not None:
            self._desk.ledger.note_sums((self._source(each.path).key, each.sum) for each in batch.small)
            if batch.large is None:
                batch = await alongside(self._take(reading), together(batch.small, self._send_small))
            else:
                await together(batch.small, self._send_small)
                await self._send_large(*batch.large)
                batch = await self._take(reading)

    async def copy(self, files: Iterable[tuple[str, File]]) -> None:
        """Files of which the bucket has the bytes already, with other revisions of the same content."""

        async def add(copied: tuple[str, File]) -> None:
            path, file = copied
            await self.add(path, self._source(path).key, file.size, file.checksum, file.object)

        await together(files, add)

    async def put(self, path: str, key: bytes, data: bytes) -> None:
        """Send one file that is no part of the contents."""
        await self._send(path, key, data, hashlib.sha256(data).hexdigest())

    async def add(self, path: str, key: bytes, size: int, checksum: str, name: str) -> None:
        """Add a revision of a file whose bytes are in the bucket.

        Raises:
            PollinatorError: the colony does not take it.
        """
        spot = spot_of(self._root, path)
        file = File("", *spot, size, checksum, name, 0)
        pause_s = FIRST_PAUSE_S
        for left in reversed(range(TRIES)):
            try:
                added = await self._desk.client.add_file(file_message(self._desk, file))
                break
            except Unavailable as error:
                found = await newest(self._desk, spot) if isinstance(error, Unanswered) else None
                if found is not None and found.object == name:
                    added = found
                    break
                if not left:
                    raise
            await asyncio.sleep(pause_s)
            pause_s *= 2
        else:
            raise AssertionError("the last try raises")
        if not added.id:
            # A defect of the server: it answers with nothing where its database refuses.
            raise InvalidInput(f"the colony does not take {path!r} in {self._root}", reason="bad_path")
        kept = dataclasses.replace(file, id=added.id, sequence=added.sequence)
        self._desk.ledger.sent(self._desk.colony, self._root, kept, key)

    async def _take(self, reading: Iterator[tuple[str, Iterator[Data]]]) -> _Batch | None:
        return await in_thread(self._desk.threads, self._read, reading)

    def _read(self, reading: Iterator[tuple[str, Iterator[Data]]]) -> _Batch | None:
        batch, size = _Batch(), 0
        for path, blocks in reading:
            if self._source(path).size > LARGE_BYTES:
                batch.large = path, blocks
                return batch
            data = b"".join(blocks)
            batch.small.append(_Read(path, data, hashlib.sha256(data).hexdigest()))
            size += len(data)
            if len(batch.small) >= BATCH_FILES or size >= BATCH_BYTES:
                break
        return batch if batch.small else None

    async def _send_small(self, read: _Read) -> None:
        key = self._source(read.path).key
        if not self._is_there(read.path, len(read.data), read.sum, key):
            await self._send(read.path, key, read.data, read.sum)
        self._told(len(read.data))

    async def _send(self, path: str, key: bytes, data: bytes, checksum: str) -> None:
        name = self._begin(path, key)
        await in_thread(self._desk.threads, self._desk.objects.put, name, data)
        await self.add(path, key, len(data), checksum, name)

    async def _send_large(self, path: str, blocks: Iterator[Data]) -> None:
        source, spot = self._source(path), spot_of(self._root, path)
        row = self._rows.get(spot)
        if row is not None and row.size == source.size:
            digest = hashlib.sha256()
            await in_thread(self._desk.threads, _exhaust, _hashed(blocks, digest))
            if self._is_there(path, source.size, digest.hexdigest(), source.key):
                self._note(source, digest.hexdigest())
                self._told(source.size)
                return
            blocks = next(iter(self._contents.read([path])))[1]
        digest = hashlib.sha256()
        name = unique_id()
        upload = await in_thread(self._desk.threads, self._desk.objects.begin_parts, name)
        self._begin(path, source.key, name, upload)
        hashed = _hashed(blocks, digest)
        put = self._desk.objects.put_parts
        await in_thread(self._desk.threads, put, name, upload, source.size, hashed, self._told)
        self._note(source, digest.hexdigest())
        await self.add(path, source.key, source.size, digest.hexdigest(), name)

    def _is_there(self, path: str, size: int, checksum: str, key: bytes) -> bool:
        """The colony lists the same already; its revision is known once it is asked for."""
        spot = spot_of(self._root, path)
        row = self._rows.get(spot)
        if row is None or (row.size, row.checksum) != (size, checksum):
            return False
        self._desk.ledger.put(self._desk.colony, self._root, [(spot, Entry(key, ""))])
        return True

    def _begin(self, path: str, key: bytes, name: str = "", upload: str = "") -> str:
        begun = Begun(name or unique_id(), spot_of(self._root, path), key, upload)
        self._desk.ledger.begin(self._desk.colony, self._root, [begun])
        return begun.object

    def _note(self, source: Source, checksum: str) -> None:
        self._desk.ledger.note_sums([(source.key, checksum)])

    def _source(self, path: str) -> Source:
        return self._contents.sources[path]


async def newest(desk: Desk, spot: Spot) -> File | None:
    """The newest revision of a file, if there is one."""
    try:
        return await desk.client.file(*spot)
    except NotFound:
        return None


async def recover(desk: Desk, root: str) -> None:
    """See to what was on its way to a label when somebody was killed."""
    for begun in desk.ledger.begun(desk.colony, root):
        found = await newest(desk, begun.spot)
        if found is not None and found.object == begun.object:
            desk.ledger.sent(desk.colony, root, found, begun.key)
            continue
        if begun.upload:
            await in_thread(desk.threads, desk.objects.abort, begun.object, begun.upload)
        await in_thread(desk.threads, desk.objects.delete, begun.object)
        desk.ledger.abandon(desk.colony, begun.object)


def file_message(desk: Desk, file: File) -> Mapping[str, Any]:
    """A new revision as every client of a colony understands it, without the keys of the bucket."""
    objects = desk.objects
    # All members read this. The original program puts its keys here, and uses its own to read.
    kept = {
        "server": objects.server,
        "port": -1,
        "tls": objects.tls,
        "accesskey": "",
        "secretkey": "",
        "region": objects.region,
        "encryptionkey": "",
        "encryptionalg": "",
        "object": file.object,
        "bucket": objects.bucket,
    }
    return {
        "colonyname": desk.client.colony,
        "label": file.label,
        "name": file.name,
        "size": file.size,
        "checksum": file.checksum,
        "checksumalg": "SHA256",
        "ref": {"protocol": "s3", "s3object": kept},
    }


def _hashed(blocks: Iterable[Data], digest: Any) -> Iterator[Data]:
    for block in blocks:
        digest.update(block)
        yield block


def _exhaust(blocks: Iterable[Data]) -> None:
    for _ in blocks:
        pass
