"""The bytes of a colony's files: objects in a bucket, each with a name of its own. Blocking, for any thread.

Nothing is believed because the bucket says so: who reads verifies the checksum that the colony has.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

from pollinator.chunks.read import Data
from pollinator.chunks.s3_asking import Asking, PastTheEnd, Patience
from pollinator.chunks.s3_body import Body
from pollinator.chunks.s3_client import Client, Part, Parts
from pollinator.v1.store_pb2 import S3Store as S3Settings
from pollinator.wire.errors import NotFound, PollinatorError

PART_BYTES = 16 * 1024 * 1024
MOST_PARTS = 10_000
PARTS_AT_ONCE = 4
"""And as many parts in memory, and one more."""


class Objects:
    """One bucket. Its keys stay here: no message to a colony holds them.

    Args:
        settings: of the bucket; objects are at its root, as every client of a colony expects, so ``prefix``
            means nothing here.
        patience: with the server.
    """

    def __init__(self, settings: S3Settings, patience: Patience | None = None) -> None:
        self._asking = Asking(settings, patience)
        self.bucket = settings.bucket
        self.region = settings.region
        scheme, _, address = settings.endpoint.rstrip("/").rpartition("://")
        self.server = address or "s3.amazonaws.com"
        self.tls = scheme != "http"

    @property
    def identity(self) -> str:
        """Which bucket this is, without credentials."""
        return f"s3:{self._asking.endpoint}/{self.bucket}"

    @property
    def requests(self) -> int:
        """Requests made so far."""
        return self._asking.requests

    def put(self, name: str, data: Data) -> None:
        """Store an object in one piece; an empty one as well, for who fetches a snapshot asks for it."""

        def send(client: Client) -> None:
            client.put_object(Bucket=self.bucket, Key=name, Body=Body(data, pause=self._asking.pause))

        self._asking.ask(send)

    def begin_parts(self, name: str) -> str:
        """Begin an object that comes in parts; returns the name of the transfer."""
        return self._asking.ask(
            lambda client: client.create_multipart_upload(Bucket=self.bucket, Key=name)["UploadId"]
        )

    def put_parts(
        self, name: str, upload: str, size: int, blocks: Iterable[Data], sent: Callable[[int], object]
    ) -> None:
        """Store an object that was begun, with only a few parts of it in memory.

        Args:
            name: of the object.
            upload: name of the transfer.
            size: of all of it.
            blocks: its bytes.
            sent: told the size of each part that is there. What it raises ends the transfer.
        """
        at = {"Bucket": self.bucket, "Key": name, "UploadId": upload}
        try:
            parts: Parts = {"Parts": self._send_parts(at, _parts(blocks, part_bytes(size)), sent)}
        except BaseException:
            # Whoever began it knows of it, and may try again later.
            with suppress(PollinatorError):
                self.abort(name, upload, tries=1)
            raise
        self._asking.ask(lambda client: client.complete_multipart_upload(**at, MultipartUpload=parts))

    def abort(self, name: str, upload: str, tries: int | None = None) -> None:
        """Remove the parts of an object that will not be whole; those of a finished one are not there."""
        at = {"Bucket": self.bucket, "Key": name, "UploadId": upload}
        with suppress(NotFound):
            self._asking.ask(lambda client: client.abort_multipart_upload(**at), tries=tries)

    def get(self, name: str, offset: int, length: int) -> bytes:
        """A piece of an object; shorter where the object is.

        Raises:
            NotFound: there is no such object.
        """
        query = {"Bucket": self.bucket, "Key": name, "Range": f"bytes={offset}-{offset + length - 1}"}

        def read(client: Client) -> bytes:
            with client.get_object(**query)["Body"] as body:
                return body.read()

        try:
            return self._asking.ask(read)
        except PastTheEnd:
            return b""

    def delete(self, name: str) -> None:
        """Remove an object, which may be gone."""
        with suppress(NotFound):
            self._asking.ask(lambda client: client.delete_object(Bucket=self.bucket, Key=name))

    def close(self) -> None:
        """Close the connections."""
        self._asking.close()

    def _send_parts(
        self, at: dict[str, str], blocks: Iterable[bytes], sent: Callable[[int], object]
    ) -> list[Part]:
        parts: list[Part] = []
        under_way: deque[tuple[int, Future[Part]]] = deque()

        def settle() -> None:
            size, part = under_way.popleft()
            parts.append(part.result())
            sent(size)

        with ThreadPoolExecutor(PARTS_AT_ONCE, thread_name_prefix="parts") as threads:
            try:
                for number, block in enumerate(blocks, 1):
                    under_way.append((len(block), threads.submit(self._send_part, at, number, block)))
                    if len(under_way) >= PARTS_AT_ONCE:
                        settle()
                while under_way:
                    settle()
            finally:
                for _, part in under_way:
                    part.cancel()
        return parts

    def _send_part(self, at: dict[str, str], number: int, data: bytes) -> Part:
        def send(client: Client) -> Part:
            body = Body(data, pause=self._asking.pause)
            tag = client.upload_part(**at, PartNumber=number, Body=body).get("ETag", "")
            return {"PartNumber": number, "ETag": tag}

        return self._asking.ask(send)


def part_bytes(size: int) -> int:
    """How large the parts of an object are: there can be only so many."""
    return max(PART_BYTES, -(-size // MOST_PARTS))


def _parts(blocks: Iterable[Data], size: int) -> Iterator[bytes]:
    """The same bytes in pieces of one size; the last may be shorter."""
    part = bytearray()
    for block in blocks:
        view = memoryview(block)
        while view:
            taken = view[: size - len(part)]
            part += taken
            view = view[len(taken) :]
            if len(part) == size:
                yield bytes(part)
                part = bytearray()
    if part:
        yield bytes(part)
