"""A store in an S3 bucket, through boto3.

Needs single PUT, ranged GET, HEAD, LIST and DELETE. Nothing rests on conditional writes or on the server's
checksums: several servers ignore or garble them, and BLAKE3 covers every byte.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import nullcontext

from pollinator.chunks.flow import Flow
from pollinator.chunks.keys import INDEX, PACK, SNAPSHOT, check_key, object_prefix
from pollinator.chunks.s3_asking import AlreadyThere, Asking, PastTheEnd, Patience, Unknown
from pollinator.chunks.s3_body import Body, receive
from pollinator.chunks.s3_client import Client, Entry, Page
from pollinator.chunks.s3_errors import age_by_server_s
from pollinator.chunks.store import Listed
from pollinator.chunks.traffic import Traffic
from pollinator.v1.store_pb2 import S3Store as S3Settings
from pollinator.wire.errors import NotFound

PAGE_KEYS = 1000
"""Most keys that a server lists at once."""

LATELY_S = 3600.0
"""An object that is there already, and younger, need not be put again."""


class S3Store:
    """Objects of one project in a bucket."""

    def __init__(
        self,
        settings: S3Settings,
        place: str,
        patience: Patience | None = None,
        traffic: Traffic | None = None,
    ) -> None:
        self._asking = Asking(settings, patience)
        self._traffic = traffic or Traffic()
        self._settings = settings
        self._prefix = object_prefix(settings.prefix, place)
        self._conditions = True
        """Until the server says that it knows none; one that ignores them is as good."""
        self.sent = Flow()

    @property
    def identity(self) -> str:
        """Names this store, without credentials."""
        return f"s3:{self._asking.endpoint}/{self._settings.bucket}/{self._prefix}"

    @property
    def requests(self) -> int:
        """Requests made so far, repeats included."""
        return self._asking.requests

    @property
    def retries(self) -> int:
        """How many of them were made because the one before had failed."""
        return self._asking.retries

    def put(self, key: str, data: bytes | memoryview) -> None:
        """One single PUT.

        What is named by its content is put on the condition that it is not there, where the server knows
        conditions. Nothing rests on it, but so a good object is not written over by a late or garbled repeat.
        """
        when_absent = self._conditions and key[:1] in (PACK, SNAPSHOT, INDEX)
        try:
            self._put(key, data, when_absent=when_absent)
        except AlreadyThere:
            if not self._holds(key, data):
                self._put(key, data, when_absent=False)
        except Unknown:
            if not when_absent:
                raise
            self._conditions = False
            self._put(key, data, when_absent=False)

    def _put(self, key: str, data: bytes | memoryview, *, when_absent: bool) -> None:
        query: dict[str, str | Body] = {**self._at(key), **({"IfNoneMatch": "*"} if when_absent else {})}

        def send(client: Client) -> None:
            # Somebody waits for a snapshot: it does not wait for what others send.
            with nullcontext() if key[:1] == SNAPSHOT else self._traffic.slots:
                body = Body(data, limit=self._traffic.upload, pause=self._asking.pause, on_sent=self.sent.add)
                try:
                    client.put_object(**query, Body=body)
                except BaseException:
                    body.take_back()
                    raise

        self._asking.ask(send)

    def _holds(self, key: str, data: bytes | memoryview) -> bool:
        """Whether an object is what it should be, as far as the server's tag tells, and was put lately.

        What is older is put again: who collects garbage goes by the age.
        """
        at = self._at(key)
        found = self._asking.ask(lambda client: client.head_object(**at))
        age_s = age_by_server_s(found)
        tag = found.get("ETag", "").strip('"')
        return age_s < LATELY_S and tag == hashlib.md5(data, usedforsecurity=False).hexdigest()

    def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        """One GET, of a range when one is asked for."""
        query = self._at(key)
        if length == 0:
            return b""
        if offset or length is not None:
            last = "" if length is None else str(offset + length - 1)
            query["Range"] = f"bytes={offset}-{last}"

        def read(client: Client) -> bytes:
            with self._traffic.slots, client.get_object(**query)["Body"] as body:
                return receive(body, self._traffic.download, self._asking.pause)

        try:
            return self._asking.ask(read)
        except PastTheEnd:
            return b""
        except NotFound as error:
            if error.reason != "object_missing":
                raise
            raise NotFound(f"{self.identity} has no object {key}", reason=error.reason) from error

    def missing(self, keys: list[str]) -> list[str]:
        """Asks for each key."""
        return [key for key in keys if not self._has(key)]

    def keys(self, prefix: str = "") -> Iterator[str]:
        """Lists page by page."""
        return (each.key for each in self.listing(prefix))

    def listing(self, prefix: str = "") -> Iterator[Listed]:
        """Lists page by page."""
        query: dict[str, str] = {}
        while True:
            entries, token = self._page(prefix, query)
            for entry in entries:
                modified_ns = int(entry["LastModified"].timestamp() * 1e6) * 1000
                yield Listed(entry["Key"].removeprefix(self._prefix), entry["Size"], modified_ns)
            if not token:
                return
            query = {"ContinuationToken": token}

    def delete(self, key: str) -> None:
        """One DELETE."""
        at = self._at(key)
        try:
            self._asking.ask(lambda client: client.delete_object(**at))
        except NotFound as error:
            if error.reason != "object_missing":
                raise

    def check(self) -> None:
        """Lists one key: unlike HEAD, a refused LIST says why. Tries only twice, for somebody waits."""
        self._page("", {}, most=1, tries=2)

    def close(self) -> None:
        """Close the connections; a request under way is not made again, and no other is made."""
        self._asking.close()

    def _page(
        self, prefix: str, token: dict[str, str], most: int = 0, tries: int | None = None
    ) -> tuple[Sequence[Entry], str]:
        """Objects, and the token for the next page if there is more."""
        query = {"Bucket": self._settings.bucket, "Prefix": self._prefix + prefix, **token}
        return self._asking.ask(
            lambda client: _whole(client.list_objects_v2(**query, MaxKeys=most or PAGE_KEYS)), tries=tries
        )

    def _has(self, key: str) -> bool:
        at = self._at(key)
        try:
            self._asking.ask(lambda client: client.head_object(**at))
        except NotFound:
            return False
        return True

    def _at(self, key: str) -> dict[str, str]:
        return {"Bucket": self._settings.bucket, "Key": self._prefix + check_key(key)}


def _whole(page: Page) -> tuple[Sequence[Entry], str]:
    """Objects of a page and the token for the next. What a page leaves out is taken for lost or for garbage.

    Raises:
        ValueError: the page is not whole.
    """
    entries = page.get("Contents", ())
    token = page.get("NextContinuationToken", "")
    told = all({"Key", "Size", "LastModified"} <= entry.keys() for entry in entries)
    counted = page.get("KeyCount", len(entries)) == len(entries)
    if not told or not counted or page.get("IsTruncated") != bool(token):
        raise ValueError("a list of objects is not whole")
    return entries, token
