"""Databases that hold what must not be lost: every failure is told as what it is, and nothing is rebuilt."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pollinator.daemon.database import Connection, DatabaseError, connect, is_damaged, is_full, migrate
from pollinator.wire.errors import Corrupt, Exhausted, PollinatorError, Unavailable, WrongState

Value = str | int | float | bytes | None


class Records:
    """One such database.

    Raises:
        Corrupt: the file is damaged; so may every method.
        Exhausted: the disk is full; so may every method.
        WrongState: a newer version of the program has written it.
        Unavailable: it cannot be used now; so may every method.
    """

    def __init__(self, path: Path, scripts: Sequence[str]) -> None:
        self._path = path
        with self._failures():
            self._database = self._open(scripts)

    def read(self, query: str, values: Sequence[Value] = ()) -> list[Any]:
        """All rows of a query."""
        with self._failures():
            return self._database.execute(query, values).fetchall()

    @contextmanager
    def change(self) -> Generator[Connection]:
        """One transaction: all of it is written, or nothing."""
        with self._failures(), self._database:
            yield self._database

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def __enter__(self) -> Self:
        """For use in a with statement."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self.close()

    def _open(self, scripts: Sequence[str]) -> Connection:
        database = connect(self._path)
        try:
            ((written,),) = database.execute("PRAGMA user_version")
            if written > len(scripts):
                raise WrongState(
                    f"a newer version of Pollinator has written {self._path}",
                    reason="records_newer",
                    hint="upgrade this installation",
                )
            migrate(database, scripts)
        except (DatabaseError, WrongState):
            database.close()
            raise
        return database

    @contextmanager
    def _failures(self) -> Generator[None]:
        try:
            yield
        except DatabaseError as error:
            failure = self._failure(error)
            if failure is None:
                raise
            raise failure from error

    def _failure(self, error: DatabaseError) -> PollinatorError | None:
        """What happened to the file; None when it is the program that is wrong."""
        path = self._path
        if is_full(error):
            return Exhausted(
                f"cannot write {path}: {error}", reason="disk_full", hint="free some space; nothing is lost"
            )
        if getattr(error, "sqlite_errorname", "").startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
            return Corrupt(
                f"{path} is damaged: {error}",
                reason="records_damaged",
                hint=f"put a copy back, or begin with an empty one: mv {path} {path}.damaged",
            )
        if is_damaged(error):
            return None
        return Unavailable(
            f"cannot use {path}: {error}", reason="records_unusable", hint="look at its permissions"
        )
