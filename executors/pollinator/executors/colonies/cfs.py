"""ColonyFS: labels of a colony, which the original program uses as well, and folders of this machine.

A label holds files as a folder does; their bytes are in a bucket. What a run sees is a snapshot whose files
are exactly those that were wanted. docs/decisions/0017-colonies.md says why files of others stay, and how
what is deleted goes.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pollinator.executors.base import Tell
from pollinator.executors.colonies.client import Client
from pollinator.executors.colonies.contents import Contents
from pollinator.executors.colonies.landing import land
from pollinator.executors.colonies.ledger import Ledger
from pollinator.executors.colonies.matching import (
    Count,
    Matching,
    beside,
    is_in_use,
    revisions,
    rows_of,
)
from pollinator.executors.colonies.messages import FileRow, Snapshot
from pollinator.executors.colonies.naming import Spot, check_label, is_marker, path_of
from pollinator.executors.colonies.objects import Objects
from pollinator.executors.colonies.sending import Desk, recover
from pollinator.executors.colonies.together import in_thread, together
from pollinator.wire.errors import InvalidInput, NotFound, PollinatorError

_log = logging.getLogger(__name__)


def nobody(_: int) -> None:
    """Is told how far something is."""


@dataclass(frozen=True, slots=True)
class Pulled:
    """What came into a folder."""

    files: int
    bytes: int
    paths: frozenset[str]
    refused: tuple[str, ...]
    """What was left out because of its name, each with the reason."""


class ColonyFiles:
    """The files of one colony. Belongs to one event loop.

    Args:
        client: of the colony.
        objects: its bucket.
        ledger: the only one of its file in this process.
        threads: for what blocks; with fewer than ``together.AT_ONCE`` transfers wait for each other.
    """

    def __init__(self, client: Client, objects: Objects, ledger: Ledger, threads: ThreadPoolExecutor) -> None:
        colony = ledger.colony(f"{client.rpc.server} {client.colony} {objects.identity}")
        self._desk = Desk(client, objects, ledger, colony, threads)

    async def listing(self, label: str) -> dict[str, FileRow]:
        """The files at and below a label by their paths, without those whose names cannot be paths here."""
        good, _ = _sorted_out(check_label(label), await rows_of(self._desk, label))
        return good

    async def publish(
        self,
        label: str,
        contents: Contents,
        holder: str,
        tell: Tell = nobody,
        begin: Tell = nobody,
        *,
        live: bool = False,
    ) -> Snapshot:
        """Have a snapshot with exactly these files.

        Brings them into the label, and removes from it what was put there from here and is not wanted any
        more. Where others have put files there, or somebody may still need what is to be removed, the
        snapshot is of a label beside it. When nothing has changed, this is one call; of many files it is the
        last snapshot again.

        Args:
            label: of a folder of a project.
            contents: what is to be in it.
            holder: who needs the snapshot, such as the id of a run.
            tell: told the number of bytes done; what it raises is passed on.
            begin: told before, of how many.
            live: not only the snapshot is read but, when a run begins, its label: nothing in it changes from
                here meanwhile.

        Returns:
            The snapshot. No file of it is removed from here until its holder is released.

        Raises:
            PollinatorError: it cannot be had.
        """
        ledger, colony = self._desk.ledger, self._desk.colony
        async with ledger.turn(colony, check_label(label)):
            roots = [label, *ledger.beside(colony, label)]
            for root in roots:
                await self._tidy(root)
            for root in (*roots, beside(label)):
                if root not in roots:
                    ledger.add_beside(colony, label, root)
                matching = Matching(self._desk, root, label, contents, tell, begin, live=live)
                if (snapshot := await matching.snapshot(holder)) is not None:
                    return snapshot
        raise AssertionError("a label that nobody else knows holds what is put there")

    async def push(self, label: str, contents: Contents, tell: Tell = nobody, begin: Tell = nobody) -> None:
        """Have these files in a label, whatever else is there; what differs is sent.

        Raises:
            PollinatorError: it cannot be done.
        """
        async with self._desk.ledger.turn(self._desk.colony, check_label(label)):
            await self._tidy(label)
            await Matching(self._desk, label, label, contents, tell, begin).add()

    async def release(self, holder: str) -> None:
        """Somebody needs no snapshot any more: his are removed, now or before the next one is made."""
        self._desk.ledger.let_go(holder)
        for snapshot_id in self._desk.ledger.needless(self._desk.colony):
            try:
                await self._remove_snapshot(snapshot_id)
            except PollinatorError as error:
                _log.warning("snapshot %s of the colony is removed later: %s", snapshot_id, error.message)

    async def pull(
        self,
        label: str,
        folder: Path,
        paths: Collection[str] | None = None,
        tell: Tell = nobody,
        begin: Tell = nobody,
    ) -> Pulled:
        """Bring files of a label into a folder: all, or those of some paths. Others in the folder stay.

        Args:
            label: whose files.
            folder: exists.
            paths: below the label.
            tell: told the number of bytes done; what it raises is passed on.
            begin: told before, of how many.

        Raises:
            Corrupt: the bucket has other bytes than the colony says.
            PollinatorError: it cannot be done.
        """
        good, refused = _sorted_out(check_label(label), await rows_of(self._desk, label))
        if paths is not None:
            good = {path: row for path, row in good.items() if path in paths}
        return await self._land(label, good, folder, refused, tell, begin)

    def have(self, parent: str, label: str) -> None:
        """Note that the files of a label below another are here."""
        self._desk.ledger.note_results(self._desk.colony, parent, label)

    async def thin_out(self, parent: str, count: int) -> None:
        """Of the labels below one whose files are here, keep so many of the newest, and remove the others.

        None is removed as long as a process that has not ended reads all of them, as those of the original
        program do.

        Raises:
            PollinatorError: it cannot be done, or not all of it.
        """
        ledger, colony = self._desk.ledger, self._desk.colony
        async with ledger.turn(colony, check_label(parent)):
            old = ledger.results(colony, parent)[:-count]
            if old and not await is_in_use(self._desk, parent):
                for label in old:
                    await together(await rows_of(self._desk, label), self._remove_file)
                    ledger.drop_results(colony, label)

    async def pull_snapshot(
        self, snapshot_id: str, folder: Path, tell: Tell = nobody, begin: Tell = nobody
    ) -> Pulled:
        """Bring all files of a snapshot into a folder.

        Raises:
            InvalidInput: a name in it cannot be a path here. Nothing was brought.
            NotFound: it is gone, or a file of it. Nothing was brought.
            Corrupt: the bucket has other bytes than the colony says.
            PollinatorError: it cannot be done.
        """
        snapshot = await self._desk.client.snapshot(snapshot_id)
        files = await revisions(self._desk, snapshot.file_ids)
        if len(files) < len(snapshot.file_ids):
            count = len(snapshot.file_ids) - len(files)
            raise NotFound(
                f"{count} files of snapshot {snapshot_id} are not in the colony any more",
                reason="colony_missing",
            )
        label = snapshot.label.rstrip("/")
        rows = {
            Spot(file.label, file.name): FileRow(file.name, file.checksum, file.size, file.object)
            for file in files
        }
        good, refused = _sorted_out(label, rows)
        if refused:
            raise InvalidInput(f"snapshot {snapshot_id} holds {refused[0]}", reason="bad_path")
        return await self._land(label, good, folder, refused, tell, begin)

    async def _land(
        self,
        label: str,
        rows: Mapping[str, FileRow],
        folder: Path,
        refused: Iterable[str],
        tell: Tell,
        begin: Tell,
    ) -> Pulled:
        size = sum(row.size for row in rows.values())
        begin(size)
        told = Count(tell)

        async def bring(wanted: tuple[str, FileRow]) -> None:
            path, row = wanted
            await in_thread(self._desk.threads, land, self._desk.objects, row, folder, path, told)

        await together(rows.items(), bring)
        return Pulled(len(rows), size, frozenset(rows), tuple(refused))

    async def _remove_file(self, spot: Spot) -> None:
        client, objects = self._desk.client, self._desk.objects
        with suppress(NotFound):
            # The bytes first: nobody finds those of a file that is gone.
            for file in await client.revisions(*spot):
                await in_thread(self._desk.threads, objects.delete, file.object)
            await client.remove_file(*spot)

    async def _tidy(self, root: str) -> None:
        """See to what was left by whoever was killed, or could not reach the colony."""
        await recover(self._desk, root)
        for snapshot_id in self._desk.ledger.needless(self._desk.colony):
            await self._remove_snapshot(snapshot_id)

    async def _remove_snapshot(self, snapshot_id: str) -> None:
        with suppress(NotFound):
            await self._desk.client.remove_snapshot(snapshot_id)
        self._desk.ledger.removed(self._desk.colony, snapshot_id)


def _sorted_out(root: str, rows: Mapping[Spot, FileRow]) -> tuple[dict[str, FileRow], list[str]]:
    """Files by their paths, and what cannot be one here: any member of a colony can give a file any name."""
    good: dict[str, FileRow] = {}
    refused: list[str] = []
    for spot, row in rows.items():
        path = path_of(root, spot)
        if path is None:
            refused.append(f"a file whose name leads elsewhere: {spot.name!r} in {spot.label!r}")
        elif not is_marker(spot):
            good[path] = row
    for path in [path for path in good if _folders_of(path) & good.keys()]:
        del good[path]
        refused.append(f"a file in what is a file: {path!r}")
    return good, refused


def _folders_of(path: str) -> set[str]:
    parts = path.split("/")
    return {"/".join(parts[:at]) for at in range(1, len(parts))}
