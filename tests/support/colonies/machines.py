"""Machines of members of a colony, each with a ledger of its own, and trees that they bring into ColonyFS."""

from __future__ import annotations

import functools
import hashlib
import secrets
import shutil
from collections import Counter
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import boto3.session
import pytest

from pollinator.chunks.read import SnapshotReader
from pollinator.chunks.s3_asking import Patience
from pollinator.executors.base import Tell
from pollinator.executors.colonies.cfs import ColonyFiles, Pulled, nobody
from pollinator.executors.colonies.client import Client
from pollinator.executors.colonies.contents import TreeContents
from pollinator.executors.colonies.ledger import Ledger
from pollinator.executors.colonies.messages import Snapshot
from pollinator.executors.colonies.objects import Objects
from pollinator.executors.colonies.together import AT_ONCE
from pollinator.executors.conformance.trees import File, Link, Listing
from pollinator.v1.colony_pb2 import Colony
from support.colonies.asking import Member
from support.colonies.sites import Site
from support.s3_servers import S3Server
from support.storing import MemoryStore, Publisher

QUICK = Patience(tries=3, first_pause_s=0.01, longest_pause_s=0.02, connect_s=2.0, silence_s=5.0)


TREE: Listing = {
    b"main.py": b"print(1)\n" * 50,
    b"run.sh": File(b"#!/bin/sh\n", 0o755),
    b"lib": {
        b"__init__.py": b"",
        b"deep": {b"__init__.py": b"", "åäö €.txt".encode(): b"x" * 3000, b"a b": b"blank"},
    },
    b"empty": {},
    b"to": Link(b"lib/deep/a b"),
}
"""Of what a project may hold; ``CONTENT`` is what ColonyFS keeps of it."""
CONTENT = {
    "main.py": b"print(1)\n" * 50,
    "run.sh": b"#!/bin/sh\n",
    "lib/__init__.py": b"",
    "lib/deep/__init__.py": b"",
    "lib/deep/åäö €.txt": b"x" * 3000,
    "lib/deep/a b": b"blank",
    "to": b"blank",
}


def contents_of(listing: Listing) -> TreeContents:
    """A tree written down as names and contents, as an executor finds it in a store."""
    store = MemoryStore()
    ref, tree = Publisher(store).publish(listing)
    reader = SnapshotReader(store)
    reader.open(ref)
    return TreeContents(reader, tree)


def held(folder: Path) -> dict[str, bytes]:
    """The files below a folder, in the making or not."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


class Machine:
    """One machine; another one on the same folder is the next life of the process there."""

    def __init__(self, folder: Path, colony: Colony) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.threads = ThreadPoolExecutor(AT_ONCE)
        self.client = Client(colony)
        self.objects = Objects(colony.files, QUICK)
        self.ledger = Ledger(folder / "ledger.db")
        self.files = ColonyFiles(self.client, self.objects, self.ledger, self.threads)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        async with AsyncExitStack() as stack:
            stack.callback(self.ledger.close)
            stack.callback(self.objects.close)
            stack.callback(self.threads.shutdown)
            stack.push_async_callback(self.client.close)

    async def publish(
        self, label: str, listing: Listing, holder: str = "run", tell: Tell = nobody
    ) -> Snapshot:
        """A snapshot of exactly this tree."""
        return await self.files.publish(label, contents_of(listing), holder, tell)

    async def push(self, label: str, listing: Listing) -> None:
        """This tree, and whatever else is there."""
        await self.files.push(label, contents_of(listing))

    async def pulled(self, label: str, **how: Any) -> dict[str, bytes]:
        """What comes into an empty folder from a label."""
        folder = self._fresh()
        await self.files.pull(label, folder, **how)
        return held(folder)

    async def seen(self, snapshot: Snapshot) -> dict[str, bytes]:
        """What comes into an empty folder from a snapshot."""
        folder = self._fresh()
        found: Pulled = await self.files.pull_snapshot(snapshot.id, folder)
        content = held(folder)
        assert found.files == len(content)
        return content

    def _fresh(self) -> Path:
        folder = self.folder / "pulled"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return folder


class Stage:
    """A colony, its bucket, and a project that is nobody else's."""

    def __init__(self, site: Site, server: S3Server, folder: Path, stack: AsyncExitStack) -> None:
        self.site = site
        self.server = server
        self.folder = folder
        self.user = site.user()
        self.project = f"/pollinator/{secrets.token_hex(32)}"
        self.label = f"{self.project}/src"
        self._stack = stack

    async def machine(self, name: str = "here", member: Member | None = None) -> Machine:
        """A machine; one of the same name is its next life."""
        colony = self.site.seen_by(member or self.user, self.server.settings().s3)
        return await self._stack.enter_async_context(Machine(self.folder / name, colony))

    def ask(self, kind: str, member: Member | None = None, **fields: Any) -> Any:
        """Ask by hand, as any member may."""
        asked = {"colonyname": self.site.name, **fields}
        return self.site.line.ask(member or self.user, kind, **asked).granted

    def add(
        self, label: str, name: str, data: bytes, *, member: Member | None = None, store: bool = True
    ) -> Any:
        """Add a file as the original program does: with its keys, and with no object for an empty one."""
        named = secrets.token_hex(32)
        if data and store:
            self.server.put(named, data)
        kept = {
            "server": self.server.endpoint.partition("://")[2],
            "port": -1,
            "tls": False,
            "accesskey": "AKIA",
            "secretkey": "very secret",
            "region": "",
            "encryptionkey": "",
            "encryptionalg": "",
            "object": named,
            "bucket": self.server.bucket,
        }
        file = {
            "colonyname": self.site.name,
            "label": label,
            "name": name,
            "size": len(data),
            "checksum": hashlib.sha256(data).hexdigest(),
            "checksumalg": "SHA256",
            "ref": {"protocol": "s3", "s3object": kept},
        }
        return self.site.line.ask(member or self.user, "addfilemsg", file=file).granted

    def there(self, label: str = "") -> dict[str, list[str]]:
        """Names in a label, and in each below it."""
        root = label or self.label
        found = self.ask("getfilelabelsmsg", name=root, exact=False) or ()
        labels = [each["name"] for each in found if f"{each['name']}/".startswith(f"{root}/")]
        return {each: sorted(file["name"] for file in self.ask("getfilesmsg", label=each)) for each in labels}

    def revisions(self, name: str, label: str = "") -> list[Any]:
        """All revisions of a file, the newest first."""
        return list(self.ask("getfilemsg", label=label or self.label, name=name, fileid="", latest=False))

    def asked(self) -> Counter[str]:
        """What the double was asked since it was marked, and how often."""
        return Counter(each.kind for each in self.site.double.asked())


session = functools.cache(boto3.session.Session)
"""To make one takes most of a test's time."""


@pytest.fixture
async def stage(
    colony: Site, colony_s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Stage]:
    """A colony and a bucket, and machines of its members."""
    monkeypatch.setattr(boto3.session, "Session", session)
    async with AsyncExitStack() as stack:
        yield Stage(colony, colony_s3, tmp_path, stack)
