"""The executors that were added, in a file that only this user can read."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from pollinator.daemon.reach.transport import Place
from pollinator.wire.errors import Corrupt
from pollinator.wire.places import private_dir


class Book:
    """A list of places. Written whole or not at all."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> list[Place]:
        """What was written last.

        Raises:
            Corrupt: it is damaged.
        """
        try:
            text = self._path.read_text("utf-8")
        except (FileNotFoundError, NotADirectoryError):
            return []
        try:
            return [Place(**each) for each in json.loads(text)["executors"]]
        except (ValueError, KeyError, TypeError) as error:
            raise Corrupt(
                f"the list of executors in {self._path} is damaged: {error}",
                reason="records_damaged",
                hint="put it right, or move it away and add the executors again",
            ) from error

    def write(self, places: Iterable[Place]) -> None:
        """Replace the list."""
        private_dir(self._path.parent)
        text = json.dumps({"executors": [asdict(each) for each in places]}, indent=1)
        fresh = self._path.with_name(f".{self._path.name}.new")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)
