"""The stores this daemon knows, and their credentials, kept out of every log and database.

A project names its store by id. What is needed to reach it (for S3 that includes keys taken from the user's
environment) is one file per store that only the user can read, so that a daemon that starts again can go on
with runs that have not ended.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from pollinator.chunks.store import Store
from pollinator.chunks.stores import open_store
from pollinator.chunks.traffic import Traffic
from pollinator.v1.store_pb2 import FolderStore, StoreSettings
from pollinator.wire.errors import NeedsLogin
from pollinator.wire.places import private_dir, write_private

DEFAULT = StoreSettings(folder=FolderStore())
"""The embedded default: a folder in the daemon's state."""


class StoreKeeper:
    """Opens stores and remembers how. Used from worker threads; each store is opened once for each use."""

    def __init__(self, folder: Path, traffic: Traffic | None = None) -> None:
        self._folder = private_dir(folder)
        self._traffic = traffic

    def open(self, settings: StoreSettings, project: str) -> tuple[str, Store]:
        """Open a store for a project and remember it; returns its id as well.

        Raises:
            PollinatorError: the settings cannot be meant.
        """
        store = open_store(settings, project, traffic=self._traffic)
        store_id = hashlib.blake2b(store.identity.encode(), digest_size=8).hexdigest()
        # Projects are opened side by side, also two of the same store.
        write_private(self._folder / store_id, settings.SerializeToString())
        return store_id, store

    def reopen(self, store_id: str, project: str) -> Store:
        """Open a store that was opened before.

        Raises:
            NeedsLogin: nothing is known about it any more.
        """
        return open_store(self.settings(store_id), project, traffic=self._traffic)

    def settings(self, store_id: str) -> StoreSettings:
        """How to reach a store that was opened before, with credentials.

        Raises:
            NeedsLogin: nothing is known about it any more.
        """
        try:
            return StoreSettings.FromString((self._folder / store_id).read_bytes())
        except FileNotFoundError as error:
            raise NeedsLogin(
                f"how to reach store {store_id} is not known any more",
                reason="store_unknown",
                hint="run pollinator sync in the project with the store's variables set",
            ) from error
