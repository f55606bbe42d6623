"""Files of runs on their way into a colony, and results on their way back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from pollinator.chunks.layout import disk_errors
from pollinator.chunks.read import SnapshotReader
from pollinator.chunks.store import Store
from pollinator.executors.base import Fetched, Tell
from pollinator.executors.colonies.cfs import ColonyFiles
from pollinator.executors.colonies.contents import TreeContents
from pollinator.executors.colonies.ends import LEFT, Told, read_outcome
from pollinator.executors.colonies.funcspec import Mount, Stored, label_of, result_label
from pollinator.executors.colonies.handover import Handover, Staged
from pollinator.executors.colonies.line import Line
from pollinator.executors.colonies.printed import add_rest
from pollinator.executors.colonies.targets import choose
from pollinator.executors.colonies.together import in_thread
from pollinator.executors.records import STARTED
from pollinator.v1.run_pb2 import Notice, Outcome, Severity, SnapshotSource
from pollinator.wire.faults import crash_point

NAMED = 10
"""So many files that a colony cannot keep are named."""
LEFT_S = 30.0
"""So long an executor of ours may take to end a run that was cancelled, and to bring what it has left."""
LOOK_S = 0.5
KEPT = 100
"""Of so many runs of a project the results stay in the colony, for those who look there."""


async def stage(
    run: Handover, line: Line, store: Store, threads: ThreadPoolExecutor, tell: Tell
) -> Sequence[Notice]:
    """Take the files of a run to where those are who may run it.

    Raises:
        InvalidInput: nobody can run it.
        PollinatorError: they cannot be taken there.
    """
    if run.staged is not None:
        return ()
    source = run.job.source
    choice = choose(run.job.spec, line.colony.name, await line.client.executors(), datetime.now(UTC))
    if choice.ours and stored_of(source) is not None:
        run.stage(Staged(choice.names, choice.type, choice.ours, location=choice.location))
        return ()
    files = await line.files()
    reader = SnapshotReader(store)
    snapshot = await in_thread(threads, reader.open, source.snapshot)
    mounts: list[Mount] = []
    left_out: list[str] = []
    done = 0
    for name, tree in (("src", snapshot.src), ("data", snapshot.data)):
        contents = await in_thread(threads, TreeContents, reader, tree)
        told = _from(done, tell)
        # Public executors read the label of data, and again when the run has ended.
        live = name == "data" and not choice.ours
        label = label_of(run.job.spec.project, name)
        kept = await files.publish(label, contents, run.job.run_id, told, live=live)
        content = await in_thread(threads, contents.name) if name == "data" else ""
        mounts.append(Mount(kept.label, kept.id, content))
        left_out += [f"{name}/{each}" for each in contents.left_out]
        done += sum(each.size for each in contents.sources.values())
        crash_point(f"after_{name}")
    src, data = mounts
    run.stage(Staged(choice.names, choice.type, choice.ours, src, data, choice.location))
    return _named(left_out)


def stored_of(source: SnapshotSource) -> Stored | None:
    """Where executors of ours find the snapshot: in the bucket of the colony, if it is there."""
    if not source.store.HasField("s3") or not source.colony.HasField("files"):
        return None
    s3, files = source.store.s3, source.colony.files
    if (s3.endpoint.rstrip("/"), s3.bucket) != (files.endpoint.rstrip("/"), files.bucket):
        return None
    return Stored(source.snapshot, s3.endpoint, s3.bucket, s3.prefix)


async def fetch(run: Handover, line: Line, tell: Tell) -> Fetched:
    """Bring what an ended run has left in the colony into its folder.

    Raises:
        PollinatorError: it cannot be had.
    """
    end, staged = run.ended, run.staged
    if end is None or staged is None or not run.process_id:
        return Fetched()
    if end.result is not None:
        return Fetched(end.result, end.notices)
    folder = run.job.work / "result"
    with disk_errors(folder):
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        if staged.src is None and not end.left:
            if (run.path / STARTED).exists():
                # An executor of ours had it, and tells of no results: not even the folder was left.
                folder.rmdir()
            return Fetched(notices=end.notices)
    label = result_label(run.job.spec.project, run.job.run_id)
    files = await line.files()
    if end.left:
        await _until_left(files, label)
    pulled = await files.pull(label, folder, tell=tell)
    files.have(label_of(run.job.spec.project, "result"), label)
    refused = [_warning("not_collected", f"not collected: result/{text}") for text in pulled.refused[:NAMED]]
    left = _read_left(folder / LEFT)
    add_rest(run.job.output, left.printed)
    return Fetched(left.result, (*end.notices, *left.notices, *refused))


async def release(run: Handover, line: Line) -> None:
    """Nobody needs its snapshots in the colony any more, nor the results of runs that are long over."""
    if run.staged is not None:
        files = await line.files()
        await files.release(run.job.run_id)
        await files.thin_out(label_of(run.job.spec.project, "result"), KEPT)


async def _until_left(files: ColonyFiles, label: str) -> None:
    deadline = time.monotonic() + LEFT_S
    while time.monotonic() < deadline:
        if LEFT in await files.listing(label):
            return
        await asyncio.sleep(LOOK_S)


def _read_left(path: Path) -> Told:
    """Where the results are, and what was printed last, as an executor of ours has left word."""
    try:
        told = read_outcome(path.read_text("utf-8", "replace"))
    except FileNotFoundError:
        told = None
    path.unlink(missing_ok=True)
    return told or Told(Outcome())


def _named(left_out: Sequence[str]) -> list[Notice]:
    texts = [f"not sent: {each}" for each in left_out[:NAMED]]
    if len(left_out) > NAMED:
        texts.append(f"not sent: {len(left_out) - NAMED} more")
    return [_warning("not_sent", text) for text in texts]


def _warning(code: str, text: str) -> Notice:
    return Notice(severity=Severity.SEVERITY_WARNING, code=code, text=text)


def _from(done: int, tell: Tell) -> Tell:
    return lambda more: tell(done + more)
