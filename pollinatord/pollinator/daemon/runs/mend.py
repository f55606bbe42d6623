"""Checking the store of a project against itself and against what is known of it here, and putting it right.

What this machine still has is stored again; what is whole in a damaged pack is copied out of it; and moves
say where both are now, so that earlier snapshots find them. A snapshot's own pack is never removed, for runs
name it: it is made whole where it is. What is left cannot be put right here.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from pollinator.chunks.garbage.roots import Report
from pollinator.chunks.keeping import write_moves
from pollinator.chunks.keys import is_snapshot
from pollinator.chunks.pack import decode, mended, parse_footer
from pollinator.chunks.read import SnapshotReader
from pollinator.chunks.store import Store
from pollinator.chunks.upload import Uploader
from pollinator.daemon.garbage.check import (
    INDEX_WRONG,
    PACK_DAMAGED,
    PACK_MISSING,
    SNAPSHOT_DAMAGED,
    SNAPSHOT_MISSING,
    Checker,
)
from pollinator.daemon.pool import Pool
from pollinator.daemon.sync.projects import OpenProject, read_spec
from pollinator.daemon.sync.stores import StoreKeeper
from pollinator.v1.keeping_pb2 import Moves
from pollinator.v1.project_pb2 import Checked, Flaw
from pollinator.v1.tree_pb2 import PackEntry, PackIndex
from pollinator.wire.errors import Corrupt, NotFound

_Needed = Mapping[str, Mapping[bytes, PackEntry]]
"""Packs, and the chunks of each that snapshots need."""

_ABOUT_PACKS = frozenset({INDEX_WRONG, PACK_MISSING, PACK_DAMAGED, SNAPSHOT_MISSING, SNAPSHOT_DAMAGED})
_log = logging.getLogger(__name__)


class Mending:
    """Checks one store at a time, on a thread of its own."""

    def __init__(self, keeper: StoreKeeper) -> None:
        self._keeper = keeper
        self._pool = Pool("fsck", 1)

    async def check(self, project: OpenProject, report: Report, *, read_data: bool, repair: bool) -> Checked:
        """Find what is wrong, and put right what can be.

        Raises:
            PollinatorError: the store does not answer, or the project cannot be sealed.
        """
        checked, needed = await self._look(project, report, read_data=read_data)
        wrong = {flaw.key: flaw for flaw in checked.flaws if flaw.code in _ABOUT_PACKS}
        if not repair or not wrong:
            return checked
        saved = await self._pool.run(self._save, project, wrong, needed)
        await project.worker.forget_stored(wrong.keys())
        spec = await self._pool.run(read_spec, project.worker.root)
        # Whatever this machine still has is in the store again after this.
        await project.worker.seal(spec, strict=False, git_commit="")
        rows = [*saved, *await project.worker.stored_rows()]
        for key in await self._pool.run(self._make_whole, project, wrong, rows):
            del wrong[key]
        await self._pool.run(self._tell, project, wrong, needed, rows)
        again, _ = await self._look(project, report, read_data=read_data)
        left = {(flaw.key, flaw.code) for flaw in again.flaws}
        for flaw in checked.flaws:
            if (flaw.key, flaw.code) not in left:
                flaw.repaired = True
                again.flaws.append(flaw)
        return again

    def close(self) -> None:
        """Let the thread end once its work is done."""
        self._pool.close()

    async def _look(
        self, project: OpenProject, report: Report, *, read_data: bool
    ) -> tuple[Checked, _Needed]:
        rows = await project.worker.stored_rows()
        known = {row.key: max(each.offset + each.stored_size for each in row.entries) for row in rows}

        def look() -> tuple[Checked, _Needed]:
            store = self._keeper.reopen(project.store_id, project.name)
            try:
                checker = Checker(store, known, read_data=read_data)
                return checker.check(report), checker.needed
            finally:
                store.close()

        return await self._pool.run(look)

    def _save(self, project: OpenProject, wrong: Mapping[str, Flaw], needed: _Needed) -> list[PackIndex]:
        """Copy what is whole out of damaged packs, and remove those: a store may refuse to replace them."""
        damaged = [key for key in _damaged(wrong) if not is_snapshot(key)]
        store = self._keeper.reopen(project.store_id, project.name)
        try:
            saved = _save(store, damaged, needed)
            for key in damaged:
                store.delete(key)
        finally:
            store.close()
        return saved

    def _make_whole(
        self, project: OpenProject, wrong: Mapping[str, Flaw], rows: Iterable[PackIndex]
    ) -> list[str]:
        """Put what is elsewhere, too, in the place of what is damaged in packs that publish snapshots."""
        whole: list[str] = []
        store = self._keeper.reopen(project.store_id, project.name)
        try:
            reader = SnapshotReader(store)
            for row in rows:
                reader.learn(row)
            for key in filter(is_snapshot, _damaged(wrong)):
                try:
                    store.put(key, mended(key, store.get(key), reader.chunk))
                    whole.append(key)
                except (Corrupt, NotFound) as error:
                    _log.warning("%s cannot be made whole: %s", key, error.message)
        finally:
            store.close()
        return whole

    def _tell(
        self, project: OpenProject, wrong: Mapping[str, Flaw], needed: _Needed, rows: Iterable[PackIndex]
    ) -> None:
        """Say where the chunks of these packs are now."""
        lost = {digest for key in wrong for digest in needed.get(key, ())}
        found = {row.key: row for row in rows if any(entry.digest in lost for entry in row.entries)}
        if not found:
            return
        store = self._keeper.reopen(project.store_id, project.name)
        try:
            # One that was stored again under its own key is there again.
            left = sorted(wrong.keys() - found.keys())
            write_moves(store, Moves(left=left, packs=[found[key] for key in sorted(found)]))
        finally:
            store.close()


def _damaged(wrong: Mapping[str, Flaw]) -> list[str]:
    return [key for key, flaw in wrong.items() if flaw.code == PACK_DAMAGED]


def _save(store: Store, damaged: Iterable[str], needed: _Needed) -> list[PackIndex]:
    """Copy all that is whole out of damaged packs."""
    rows: list[PackIndex] = []
    uploader = Uploader(store, on_stored=rows.append, avoid=set(damaged))
    try:
        for key in damaged:
            for digest, data in _whole(store, key, needed.get(key, {})):
                uploader.add(digest, data)
        uploader.flush()
    finally:
        uploader.close()
    return rows


def _whole(store: Store, key: str, needed: Mapping[bytes, PackEntry]) -> Iterable[tuple[bytes, bytes]]:
    try:
        body = store.get(key)
    except NotFound:
        return
    try:
        entries: list[PackEntry] = list(parse_footer(key, body).entries)
    except Corrupt:
        entries = list(needed.values())
    for entry in entries:
        try:
            yield (
                entry.digest,
                bytes(decode(key, entry, body[entry.offset : entry.offset + entry.stored_size])),
            )
        except Corrupt as error:
            _log.warning("%s", error.message)
