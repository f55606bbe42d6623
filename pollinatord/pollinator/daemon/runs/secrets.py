"""Secrets of runs that may still have to be launched: one file per run that only the user can read.

They never enter the run log. The file is removed as soon as the run has moved on at its executor, or ended.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from pollinator.v1.run_pb2 import Secret, StartRunRequest
from pollinator.wire.errors import Exhausted
from pollinator.wire.places import private_dir


class SecretFiles:
    """A folder of such files."""

    def __init__(self, folder: Path) -> None:
        self._folder = private_dir(folder)

    def keep(self, run_id: str, secrets: Iterable[Secret]) -> None:
        """Keep the secrets of a run; nothing is written when there are none.

        They are on disk then: a run must not be found there after a power cut, and its secrets not.

        Raises:
            Exhausted: the disk is full.
        """
        body = StartRunRequest(secrets=secrets).SerializeToString()
        if not body:
            return
        path = self._folder / run_id
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(body)
                file.flush()
                os.fsync(descriptor)
            self._sync()
        except OSError as error:
            self.forget(run_id)
            raise Exhausted(
                f"cannot write {path}: {error.strerror}", reason="disk_full", hint="free some space there"
            ) from error

    def _sync(self) -> None:
        descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def read(self, run_id: str) -> list[Secret]:
        """The secrets of a run, or none."""
        try:
            body = (self._folder / run_id).read_bytes()
        except FileNotFoundError:
            return []
        return list(StartRunRequest.FromString(body).secrets)

    def forget(self, run_id: str) -> None:
        """Remove them; harmless when there are none."""
        (self._folder / run_id).unlink(missing_ok=True)

    def forget_all_but(self, run_ids: Iterable[str]) -> None:
        """Remove those of all other runs, as a daemon that was killed leaves them."""
        kept = set(run_ids)
        for path in self._folder.iterdir():
            if path.name not in kept:
                path.unlink(missing_ok=True)
