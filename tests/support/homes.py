"""A result folder of a user, its ledger, and runs that leave something."""

from __future__ import annotations

from pathlib import Path

import pytest

from pollinator.chunks.digest import digest_of
from pollinator.chunks.read import SnapshotReader
from pollinator.daemon.sync.ledger import Ledger
from pollinator.daemon.sync.results import Applied, apply_results
from pollinator.executors.conformance.trees import Listing
from support.disk import full_disk
from support.storing import MemoryStore, Publisher, listed


class Home:
    """Where results come home."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "result"
        self.ledgers = folder / "ledgers"
        for path in (self.folder, self.ledgers):
            path.mkdir()
        self.store = MemoryStore()
        self.read: list[bytes] = []
        """Names of the user's files that were read."""
        self.told: list[int] = []
        """How far it was told to be."""

    def bring(self, run: str, listing: Listing, *, disk_bytes: int = 2**40, damaged: bytes = b"") -> Applied:
        """Lay the results of a run out, on a disk that takes no larger files; one file may be damaged."""
        publisher = Publisher(self.store, pack_bytes=1000)
        ref, tree = publisher.publish(listing, flush=True)
        for row in publisher.rows:
            if damaged and any(entry.digest == digest_of(damaged) for entry in row.entries):
                self.store.objects[row.key] = bytes(len(self.store.objects[row.key]))
        reader = SnapshotReader(self.store)
        reader.open(ref)
        self.store.gets.clear()
        self.read.clear()
        with full_disk(disk_bytes), Ledger(self.ledgers, self.folder) as ledger:
            return apply_results(reader, tree, self.folder, ledger, run, progress=self.told.append)

    @property
    def found(self) -> dict[bytes, bytes]:
        """Contents of the files there, and targets of the links."""
        return {path: data for path, (kind, _, data) in listed(self.folder).items() if kind != "folder"}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)
