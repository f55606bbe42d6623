"""Runs of one executor on disk: a folder for each, with its request, its events and its output.

Events are framed and checksummed in one append-only file. A torn tail, as a kill leaves it, is cut off.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import xxhash
from google.protobuf.message import DecodeError

from pollinator.executors.base import Job
from pollinator.executors.growth import Growth
from pollinator.executors.records import write_private
from pollinator.executors.trees import PRISTINE, remove_tree
from pollinator.model.run import InvalidMove, apply, is_terminal
from pollinator.v1.run_pb2 import (
    OutcomeReason,
    Progress,
    Run,
    RunEvent,
    RunState,
    SnapshotSource,
    StartRunRequest,
)
from pollinator.v1.store_pb2 import StoreSettings
from pollinator.wire.errors import InvalidInput, NotFound

KEPT = 100
"""So many runs that somebody else has taken over are kept for whoever looks."""

_log = logging.getLogger(__name__)
_FRAME = struct.Struct("<II")
_BESIDES = (PRISTINE, "container")
"""Folders beside the trees that a run needs as long as it has not ended."""

_PRIVATE = ("private.pb", "secrets.json", "launch.json")
"""Files that only a run which has not ended needs: secrets, keys of a store, an environment."""

BEFORE_RANKS = (
    RunState.RUN_STATE_ACCEPTED,
    RunState.RUN_STATE_LAUNCHING,
    RunState.RUN_STATE_QUEUED,
    RunState.RUN_STATE_STARTING,
)
"""No rank of the attempt is known to run."""

_DROPPED = "."
"""Names of folders on their way out begin so."""


class RunFolder:
    """One run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.growth = Growth(path / "output")
        self.log: list[RunEvent] = []
        self.run = Run()
        self.progress: Progress | None = None
        self._source: SnapshotSource | None = None
        for event in _read_events(path / "events.log"):
            self.log.append(event)
            self.run = apply(self.run, event)

    @property
    def job(self) -> Job:
        """The run for the backend."""
        if self._source is None:
            self._source = self.request().snapshot
        return Job(self.run.id, self.run.spec, self.path, self._source)

    @property
    def forgotten(self) -> Path:
        """Is there once nobody needs the run any more."""
        return self.path / "forgotten"

    @property
    def holds_results(self) -> bool:
        """Results are here that could not be stored."""
        return self.run.outcome.reason == OutcomeReason.OUTCOME_REASON_COLLECT

    def append(self, event: RunEvent) -> Run:
        """Write an event; returns the run it leads to."""
        event.seq = self.run.last_seq + 1
        event.time.GetCurrentTime()
        after = apply(self.run, event)
        body = event.SerializeToString()
        descriptor = os.open(
            self.path / "events.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600
        )
        try:
            _write_whole(descriptor, _FRAME.pack(len(body), xxhash.xxh32_intdigest(body)) + body)
        finally:
            os.close(descriptor)
        self.log.append(event)
        self.run = after
        # What was printed before an event is told no later than the event.
        self.growth.look()
        self.growth.tell()
        return after

    def tell(self, progress: Progress | None) -> None:
        """How far a transfer is, for whoever follows; nothing is written down."""
        self.progress = progress
        if progress is not None:
            self.growth.tell()

    def request(self) -> StartRunRequest:
        """The request, with secrets as long as they are needed."""
        request = StartRunRequest.FromString((self.path / "request.pb").read_bytes())
        private = self.path / "private.pb"
        if private.exists():
            request.MergeFrom(StartRunRequest.FromString(private.read_bytes()))
        return request

    def renew(self, store: StoreSettings) -> None:
        """Take newer credentials for the same store: those it has are good for a while only."""
        private = self.path / "private.pb"
        if is_terminal(self.run.state) or not store.s3.session_token or not private.exists():
            return
        kept = StartRunRequest.FromString(private.read_bytes())
        known = kept.snapshot.store.s3
        if (known.endpoint, known.bucket, known.prefix) == (
            store.s3.endpoint,
            store.s3.bucket,
            store.s3.prefix,
        ):
            kept.snapshot.store.CopyFrom(store)
            write_private(private, kept.SerializeToString())
            self._source = None

    def drop_secrets(self) -> None:
        """The secrets have reached the ranks: forget them, keep the way to the store."""
        private = self.path / "private.pb"
        if private.exists():
            kept = StartRunRequest.FromString(private.read_bytes())
            if kept.secrets:
                kept.ClearField("secrets")
                write_private(private, kept.SerializeToString())

    @property
    def released(self) -> bool:
        """Nothing is left to release."""
        return not any((self.path / name).exists() for name in (*_PRIVATE, *_BESIDES, "work"))

    def drop_private(self) -> None:
        """The run has ended: nobody needs its secrets, nor the keys of its store and colony."""
        self._source = None
        for name in _PRIVATE:
            (self.path / name).unlink(missing_ok=True)

    def release(self) -> None:
        """The run has ended: only events and output stay, and results that could not be stored."""
        self.drop_private()
        for name in _BESIDES:
            remove_tree(self.path / name)
        if not self.holds_results:
            remove_tree(self.path / "work")


class RunFolders:
    """All runs of this executor; a ``RunSource``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folders: dict[str, RunFolder] = {}
        self._requests: dict[str, RunFolder] = {}
        for path in sorted(root.iterdir()):
            self._load(path)

    def all(self) -> list[RunFolder]:
        """Oldest first."""
        return [self._folders[name] for name in sorted(self._folders)]

    def has(self, run_id: str) -> bool:
        """The run is known."""
        return run_id in self._folders

    def needs(self, run_id: str) -> bool:
        """The run is known, and whoever sent it has not said that they have all of it. For any thread."""
        found = self._folders.get(run_id)
        return found is not None and not found.forgotten.exists()

    def folder(self, run_id: str) -> RunFolder:
        """One run by its exact id; raises NotFound."""
        try:
            return self._folders[run_id]
        except KeyError:
            raise NotFound(f"this executor does not know run {run_id!r}", reason="run_missing") from None

    def by_request(self, request_id: str) -> RunFolder | None:
        """The run that a request with this id started."""
        return self._requests.get(request_id)

    def find(self, name: str, root: str = "") -> RunFolder:
        """One run by its id or a unique prefix; ``latest`` is the newest.

        Args:
            name: of the run.
            root: for ``latest``, the folder of its project, or empty for any.

        Raises:
            NotFound: none fits.
            InvalidInput: several fit.
        """
        if name == "latest":
            found = [each for each in self.all() if not root or each.run.root == root][-1:]
        else:
            found = [each for run_id, each in self._folders.items() if name and run_id.startswith(name)]
        if len(found) > 1 and name not in self._folders:
            raise InvalidInput(f"{name!r} fits several runs", reason="run_ambiguous")
        return self.folder(name if name in self._folders or not found else found[0].run.id)

    def create(self, run: Run, request: StartRunRequest) -> RunFolder:
        """Write a new run; it exists once its first event is written."""
        path = self.root / run.id
        try:
            folder = self._write_new(path, run, request)
        except OSError:
            # The disk is full. A request that is not answered leaves nothing, least of all its secrets.
            remove_tree(path)
            raise
        self._keep(folder)
        return folder

    @staticmethod
    def _write_new(path: Path, run: Run, request: StartRunRequest) -> RunFolder:
        path.mkdir(mode=0o700, exist_ok=True)
        private = StartRunRequest(secrets=request.secrets)
        private.snapshot.store.CopyFrom(request.snapshot.store)
        if request.snapshot.HasField("colony"):
            private.snapshot.colony.CopyFrom(request.snapshot.colony)
        write_private(path / "private.pb", private.SerializeToString())
        public = StartRunRequest()
        public.CopyFrom(request)
        public.ClearField("secrets")
        public.snapshot.ClearField("store")
        public.snapshot.ClearField("colony")
        write_private(path / "request.pb", public.SerializeToString())
        folder = RunFolder(path)
        folder.append(RunEvent(accepted=run))
        return folder

    def forget(self, folder: RunFolder) -> list[Path]:
        """Take note that an ended run is not needed any more.

        Returns:
            Folders to remove, of runs that are not known any more: the oldest of all that are not needed.
        """
        folder.forgotten.touch()
        # What could not be stored is nowhere else.
        needless = [each for each in self.all() if each.forgotten.exists() and not each.holds_results]
        return [self._drop(each) for each in needless[:-KEPT]]

    def _load(self, path: Path) -> None:
        try:
            folder = RunFolder(path)
        except (InvalidMove, DecodeError):
            # Of no use, but no reason to serve no other run either.
            _log.exception("%s cannot be read", path)
            return
        if folder.log and not path.name.startswith(_DROPPED):
            self._keep(folder)
        else:
            # Killed before it was accepted: whoever asked has no answer and asks again.
            remove_tree(path)

    def _drop(self, folder: RunFolder) -> Path:
        # Renamed first, so that a kill leaves no half of a run.
        gone = folder.path.rename(self.root / f"{_DROPPED}{folder.run.id}")
        del self._folders[folder.run.id]
        self._requests.pop(folder.run.request_id, None)
        return gone

    def _keep(self, folder: RunFolder) -> None:
        self._folders[folder.run.id] = folder
        self._requests[folder.run.request_id] = folder

    # RunSource

    def get(self, run_id: str) -> Run:
        """The run as it is now."""
        return self.folder(run_id).run

    def events(self, run_id: str, after_seq: int) -> Sequence[RunEvent]:
        """Events after a sequence number."""
        return self.folder(run_id).log[after_seq:]

    def ranks(self, run_id: str) -> Sequence[int]:
        """Ranks that have an output file, as of a moment ago."""
        return sorted(self._sizes(run_id))

    def output_size(self, run_id: str, rank: int) -> int:
        """Bytes a rank has printed, as of a moment ago; never fewer than were read."""
        return self._sizes(run_id).get(rank, 0)

    def _sizes(self, run_id: str) -> Mapping[int, int]:
        folder = self.folder(run_id)
        # A file may be seen before it is known that the run runs: none is said to wait and to print.
        silent = folder.run.state in BEFORE_RANKS and folder.run.attempt <= 1
        return {} if silent else folder.growth.sizes

    def read_output(self, run_id: str, rank: int, offset: int, limit: int) -> bytes:
        """A piece of a rank's output."""
        folder = self.folder(run_id)
        try:
            # Ranks may have put something else there: no link is followed, and no pipe waited for.
            descriptor = os.open(
                folder.path / "output" / str(rank), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            )
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENXIO):
                return b""
            raise
        try:
            data = os.pread(descriptor, limit, offset) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b""
        finally:
            os.close(descriptor)
        folder.growth.note(rank, offset + len(data))
        return data

    def output_complete(self, run_id: str) -> bool:
        """Every process of an ended run is gone."""
        return is_terminal(self.get(run_id).state)

    def progress(self, run_id: str) -> Progress | None:
        """Bytes on their way now."""
        return self.folder(run_id).progress

    def version(self, run_id: str) -> int:
        """Grows with events, output and progress."""
        return self.folder(run_id).growth.version

    async def changed(self, run_id: str, seen: int, timeout_s: float) -> None:
        """Sleep until there is news of the run, or the time is over."""
        await self.folder(run_id).growth.changed(seen, timeout_s)


def _write_whole(descriptor: int, data: bytes) -> None:
    """All or nothing: what comes after half an event could never be read again."""
    before = os.fstat(descriptor).st_size
    if os.write(descriptor, data) < len(data):
        os.ftruncate(descriptor, before)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _read_events(path: Path) -> list[RunEvent]:
    events: list[RunEvent] = []
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return events
    at = 0
    while at + _FRAME.size <= len(data):
        length, checksum = _FRAME.unpack_from(data, at)
        body = data[at + _FRAME.size : at + _FRAME.size + length]
        if len(body) < length or xxhash.xxh32_intdigest(body) != checksum:
            break
        events.append(RunEvent.FromString(body))
        at += _FRAME.size + length
    if at < len(data):
        os.truncate(path, at)
    return events
