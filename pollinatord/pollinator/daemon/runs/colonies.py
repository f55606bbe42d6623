"""The colonies that runs are handed over to, and who we are there, kept out of every log and database.

A run names its colony by id. What is needed to reach it is one file per colony that only the user can read,
so that a daemon that starts again can go on with runs that have not ended.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from pollinator.v1.colony_pb2 import Colony
from pollinator.wire.errors import NeedsLogin
from pollinator.wire.places import private_dir, write_private

_LAST = "last-"
"""Begins names of files that hold the id of the colony that a project was last used with."""


class ColonyKeeper:
    """Remembers colonies. Its files are small: any thread, and the loop, may ask."""

    def __init__(self, folder: Path) -> None:
        self._folder = private_dir(folder)

    def keep(self, root: str, colony: Colony) -> str:
        """Remember a colony with its newest key, and that a project is used with it; its id."""
        colony_id = _digest(f"{colony.host}\0{colony.port}\0{colony.name}")
        write_private(self._folder / colony_id, colony.SerializeToString())
        write_private(self._last(root), colony_id.encode())
        return colony_id

    def last(self, root: str) -> str:
        """Id of the colony that a project was last used with, or empty."""
        try:
            return self._last(root).read_text(encoding="ascii")
        except FileNotFoundError:
            return ""

    def settings(self, colony_id: str) -> Colony:
        """How to reach a colony, with the private key.

        Raises:
            NeedsLogin: nothing is known about it any more.
        """
        try:
            return Colony.FromString((self._folder / colony_id).read_bytes())
        except FileNotFoundError as error:
            raise NeedsLogin(
                f"how to reach colony {colony_id} is not known any more",
                reason="colony_unknown",
                hint="repeat the command with the COLONIES_ variables set",
            ) from error

    def _last(self, root: str) -> Path:
        return self._folder / f"{_LAST}{_digest(root)}"


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=8).hexdigest()
