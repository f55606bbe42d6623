"""Making a label hold exactly the files that are wanted, and a snapshot that proves it.

What was there last time is believed until the snapshot says otherwise; only then the label is listed.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Iterable, Iterator, Mapping

from pollinator.executors.base import Tell
from pollinator.executors.colonies.client import MOST_PROCESSES
from pollinator.executors.colonies.contents import Contents
from pollinator.executors.colonies.identity import unique_id
from pollinator.executors.colonies.ledger import OTHERS, Entry
from pollinator.executors.colonies.messages import File, FileRow, Process, Snapshot, State, objects, one
from pollinator.executors.colonies.naming import MARKER, Spot, is_marker, spot_of
from pollinator.executors.colonies.refusals import Unanswered
from pollinator.executors.colonies.sending import Desk, Sending, newest
from pollinator.executors.colonies.together import in_thread, together
from pollinator.wire.errors import NotFound, Unavailable

TRIES = 3
"""So often others may change a label while we look at it."""
SNAPSHOT_TRIES = 3
MANY = 500
"""From so many files on a server lists them more quickly than it takes a snapshot."""
WILD = frozenset("_%\\")
"""In a label these stand for other letters, too, when the server looks for what is below it, so that its
snapshots may hold files of other labels."""

_MARKER_KEY = b"marker"
_log = logging.getLogger(__name__)


class Matching:
    """One label, and what is to be in it.

    Args:
        desk: of the colony.
        root: the label.
        donor: label whose files may be in the bucket already; the same, or the one this one is beside.
        contents: what is wanted.
        tell: told the number of bytes done.
        begin: told before, of how many.
        live: the label itself is read as well, at any time.
    """

    def __init__(
        self,
        desk: Desk,
        root: str,
        donor: str,
        contents: Contents,
        tell: Tell,
        begin: Tell,
        *,
        live: bool = False,
    ) -> None:
        self._desk = desk
        self._root = root
        self._donor = donor
        self._contents = contents
        self._wanted = {spot_of(root, path): source for path, source in contents.sources.items()}
        self._tell = tell
        self._begin = begin
        self._live = live
        self._rows: Mapping[Spot, FileRow] = {}
        """What was listed, as long as nothing was sent since."""
        self._known: dict[Spot, Entry] | None = None
        """What the ledger says is there, as long as nothing was changed since."""

    async def snapshot(self, holder: str) -> Snapshot | None:
        """A snapshot of the label with these files and no others.

        Args:
            holder: who needs it.

        Returns:
            None where the label cannot be so: the files are there, and others that have to stay.

        Raises:
            PollinatorError: the colony or the bucket fails, or others change the label all the time.
        """
        if not self._there():
            await self._look()
        for _ in range(TRIES):
            held = await self._is_held()
            if held and (self._live or self._is_beside):
                return None
            others = await self._has_others()
            # Also where a run cannot be from this label: the original program reads it.
            sent = await self._bring()
            if held or others:
                return None
            gone = self._gone()
            await together(gone, self._remove)
            taken = None if sent or gone else await self._kept()
            taken = taken or await take_snapshot(self._desk, self._root)
            if await self._agrees(taken):
                self._note(taken, holder)
                return taken
            await self._desk.client.remove_snapshot(taken.id)
            if not WILD.isdisjoint(self._root):
                return None
            await self._look()
        raise Unavailable(f"others change {self._root} all the time", reason="colony_contended")

    async def add(self) -> None:
        """Bring the files; whatever else is there stays."""
        await self._look()
        await self._bring()

    def _there(self) -> dict[Spot, Entry]:
        if self._known is None:
            self._known = self._desk.ledger.there(self._desk.colony, self._root)
        return self._known

    def _replace(self, entries: Iterable[tuple[Spot, Entry]]) -> None:
        self._desk.ledger.replace(self._desk.colony, self._root, entries)
        self._known = None

    async def _look(self) -> None:
        """List the label, and note what is there."""
        self._rows = await rows_of(self._desk, self._root)
        known = self._there()
        sums = self._desk.ledger.sums(source.key for source in self._wanted.values())

        def noted() -> Iterator[tuple[Spot, Entry]]:
            for spot, row in self._rows.items():
                source, before = self._wanted.get(spot), known.get(spot)
                if is_marker(spot):
                    if spot.label == self._root:
                        yield spot, Entry(_MARKER_KEY, "")
                elif source is not None:
                    # Anything else that is there has to be sent again.
                    if (sums.get(source.key), source.size) == (row.checksum, row.size):
                        same = before is not None and before.key == source.key
                        yield spot, before if before is not None and same else Entry(source.key, "")
                else:
                    yield spot, before or Entry(OTHERS, "")

        self._replace(list(noted()))

    @property
    def _is_beside(self) -> bool:
        """Only we put files there, and executors that bring what they have left from earlier runs."""
        return self._root != self._donor

    async def _has_others(self) -> bool:
        """Somebody else has put files there that are not wanted, and have to stay."""
        if self._is_beside:
            return False
        for spot, entry in list(self._there().items()):
            if entry.key == OTHERS and spot not in self._wanted:
                if await newest(self._desk, spot) is not None:
                    return True
                self._desk.ledger.drop(self._desk.colony, self._root, spot)
                del self._there()[spot]
        return False

    def _missing(self) -> list[str]:
        """What is wanted and not there, or other than it is wanted."""
        there = self._there()
        missing: list[str] = []
        for path, (spot, source) in zip(self._contents.sources, self._wanted.items(), strict=True):
            entry = there.get(spot)
            if entry is None or entry.key != source.key:
                missing.append(path)
        return missing

    async def _bring(self) -> bool:
        """Send what is not there; whether that was anything."""
        there, missing = self._there(), self._missing()
        known = await self._known_bytes(missing)
        self._begin(sum(self._contents.sources[path].size for path in missing if path not in known))
        told = Count(self._tell)
        sending = Sending(self._desk, self._root, self._contents, self._rows, told)
        await sending.copy(known.items())
        await sending.send([path for path in missing if path not in known])
        self._rows = {}
        if missing:
            self._known = None
        present = (*self._wanted, *there)
        if present and not any(spot.label == self._root for spot in present):
            # With no file right in a label, the server's snapshots of it are empty, and the original program
            # does not see what is below.
            await sending.put(MARKER, _MARKER_KEY, marker(self._root))
            self._known = None
        return bool(missing)

    async def _known_bytes(self, paths: Iterable[str]) -> dict[str, File]:
        """Files that the label which this one is beside has with the same content."""
        if not self._is_beside:
            return {}
        ledger, colony = self._desk.ledger, self._desk.colony
        has = ledger.there(colony, self._donor)
        sources = self._contents.sources
        ids: dict[str, str] = {}
        for path in paths:
            entry = has.get(spot_of(self._donor, path))
            if entry is not None and entry.key == sources[path].key:
                ids[path] = entry.id
        files = ledger.revisions(colony, ids.values())
        found = {path: files[file_id] for path, file_id in ids.items() if file_id in files}
        sums = ledger.sums(sources[path].key for path in ids)

        async def ask(path: str) -> None:
            # It was listed, with its checksum only.
            file = await newest(self._desk, spot_of(self._donor, path))
            if file is not None and file.checksum == sums.get(sources[path].key):
                found[path] = file

        await together((path for path in ids if path not in found), ask)
        return found

    def _gone(self) -> list[Spot]:
        """What may be removed: what we have put there and is not wanted any more."""
        kept = (_MARKER_KEY,) if self._is_beside else (_MARKER_KEY, OTHERS)
        there = self._there().items()
        return [spot for spot, entry in there if spot not in self._wanted and entry.key not in kept]

    async def _is_held(self) -> bool:
        """There is something to be changed that somebody may need as it is."""
        if not self._gone() and not (self._live and self._missing()):
            return False
        return self._desk.ledger.is_held(self._desk.colony, self._root) or await is_in_use(
            self._desk, self._root
        )

    async def _kept(self) -> Snapshot | None:
        """The last snapshot, if that is there and a listing shows that its files are, and no others."""
        desk = self._desk
        snapshot_id = desk.ledger.kept(desk.colony, self._root)
        if not snapshot_id:
            return None
        try:
            kept = await desk.client.snapshot(snapshot_id)
        except NotFound:
            return None
        if {entry.id for entry in self._there().values()} != set(kept.file_ids):
            return None
        # Whoever removes a file takes its revisions away, and snapshots go on to name them.
        listed = {spot: row.object for spot, row in (await rows_of(desk, self._root)).items()}
        return kept if desk.ledger.objects(desk.colony, self._root) == listed else None

    def _note(self, taken: Snapshot, holder: str) -> None:
        """Somebody needs a snapshot; one of many files may serve again."""
        ledger, colony = self._desk.ledger, self._desk.colony
        ledger.hold(colony, self._root, taken.id, holder)
        if len(self._wanted) >= MANY:
            ledger.keep(colony, self._root, taken.id)
        else:
            ledger.keep_none(colony, self._root)

    async def _remove(self, spot: Spot) -> None:
        try:
            await self._desk.client.remove_file(*spot)
        except Unanswered:
            # Whether it was done or not: it may be done twice.
            await self._desk.client.remove_file(*spot)
        for name in self._desk.ledger.forget(self._desk.colony, self._root, spot):
            await in_thread(self._desk.threads, self._desk.objects.delete, name)
        self._known = None

    async def _agrees(self, taken: Snapshot) -> bool:
        """The files of a snapshot are those that are wanted; notes their revisions."""
        there = self._there()
        if {entry.id for entry in there.values()} == set(taken.file_ids):
            # Revisions never change, and these were looked at before.
            return True
        files = await revisions(self._desk, taken.file_ids)
        found = {Spot(file.label, file.name): file for file in files}
        if {spot for spot in found if not is_marker(spot)} != self._wanted.keys():
            return False
        sums = self._desk.ledger.sums(source.key for source in self._wanted.values())
        for spot, source in self._wanted.items():
            if (sums.get(source.key), source.size) != (found[spot].checksum, found[spot].size):
                return False
        keys = {spot: source.key for spot, source in self._wanted.items()}
        entries = [(spot, Entry(keys.get(spot, _MARKER_KEY), file.id)) for spot, file in found.items()]
        self._replace(entries)
        return True


class Count:
    """Adds up what is told from several threads."""

    def __init__(self, tell: Tell) -> None:
        self._lock = threading.Lock()
        self._tell = tell
        self._done = 0

    def __call__(self, more: int) -> None:
        """So many more are done."""
        with self._lock:
            self._done += more
            self._tell(self._done)


async def is_in_use(desk: Desk, root: str) -> bool:
    """A process that has not ended reads a label, or there are too many to say."""
    for state in (State.WAITING, State.RUNNING):
        processes = await desk.client.processes(state)
        if len(processes) >= MOST_PROCESSES or any(root in labels_of(each) for each in processes):
            return True
    return False


async def rows_of(desk: Desk, root: str) -> dict[Spot, FileRow]:
    """The newest revisions of all files at and below a label."""
    rows: dict[Spot, FileRow] = {}

    async def list_one(label: str) -> None:
        rows.update((Spot(label, row.name), row) for row in await desk.client.files(label))

    await together(await desk.client.labels(root), list_one)
    return rows


async def revisions(desk: Desk, ids: Iterable[str]) -> list[File]:
    """Some revisions; only what is not known is asked for. Those that are gone are left out."""
    ids = list(ids)
    found = desk.ledger.revisions(desk.colony, ids)
    asked: list[File] = []

    async def ask(file_id: str) -> None:
        try:
            asked.append(await desk.client.file_by_id(file_id))
        except NotFound:
            _log.warning("revision %s of a file is gone", file_id)

    await together((each for each in ids if each not in found), ask)
    desk.ledger.learn(desk.colony, asked)
    found.update((file.id, file) for file in asked)
    return [found[file_id] for file_id in ids if file_id in found]


async def take_snapshot(desk: Desk, root: str) -> Snapshot:
    """A snapshot of a label as it is now, under a name that nothing has."""
    for _ in range(SNAPSHOT_TRIES - 1):
        try:
            return await desk.client.create_snapshot(root, unique_id())
        except Unanswered as error:
            # If it is there, it is in nobody's way.
            _log.warning("a snapshot of %s is taken again: %s", root, error.message)
    return await desk.client.create_snapshot(root, unique_id())


def labels_of(process: Process) -> set[str]:
    """Labels whose files a process reads."""
    fs = one(process.spec.get("fs"))
    read = (*objects(fs.get("snapshots")), *objects(fs.get("dirs")))
    return {str(each.get("label")).rstrip("/") for each in read}


def beside(root: str) -> str:
    """A new label beside one, whose snapshots hold nothing else."""
    plain = "".join("-" if each in WILD else each for each in root)
    return f"{plain}.{secrets.token_hex(4)}"


def marker(root: str) -> bytes:
    """What the original program leaves in a folder that it syncs with a label."""
    return b'{"label":"%s"}' % root.encode()
