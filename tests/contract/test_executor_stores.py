"""Every executor with a store in a folder of this machine, in its way and out of it; what stays of a run."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from pollinator.chunks.stores import open_store
from pollinator.executors.conformance.asking import make_spec
from pollinator.v1.run_pb2 import OutcomeReason, RunState
from pollinator.v1.store_pb2 import FolderStore, StoreSettings
from support.executing import ExecutorProcess, executor

__all__ = ["executor"]
from pollinator.executors.conformance.trees import File, Listing


@pytest.fixture
def folders(executor: ExecutorProcess) -> None:
    """Skips where runs cannot have their files in a folder of this machine."""
    if executor.profile.bucket_only:
        pytest.skip(f"{executor.name} takes no folders: {executor.profile.bucket_only}")


WRITES = "open('result/text', 'w').write('written')\n"


@pytest.mark.usefixtures("folders")
async def test_a_store_in_a_folder_serves_files_and_takes_results(
    executor: ExecutorProcess, tmp_path: Path
) -> None:
    settings = StoreSettings(folder=FolderStore(path=str(tmp_path)))
    src = {b"main.py": b"open('result/copy', 'w').write(open('src/text').read())", b"text": b"x" * 1000}
    snapshot = await executor.publish(src, store=open_store(settings, "demo"))
    run = await executor.launch(make_spec(), snapshot, settings=settings)
    ended = await executor.follow(run.id)
    found = await executor.results(ended.run, store=open_store(settings, "demo"))

    assert {b"copy": ("file", 0o644, b"x" * 1000)} == found


def out_of_reach(tmp_path: Path) -> tuple[Path, StoreSettings]:
    """A store that answers with errors that may go away, until ``within_reach``."""
    (tmp_path / "stored").mkdir()
    way = tmp_path / "way"
    return way, StoreSettings(folder=FolderStore(path=str(way)))


def pausing(executor: ExecutorProcess) -> bytes:
    """Says that it is there, and goes on once that was heard."""
    return f"import time\nprint('up')\ntime.sleep({executor.profile.lag_s})\n".encode()


def cut_off(way: Path) -> None:
    way.unlink(missing_ok=True)
    # The system gives up after so many links: an error, but not one that says that nothing is there.
    way.symlink_to(way.name)


def within_reach(way: Path) -> None:
    way.unlink(missing_ok=True)
    way.symlink_to("stored")


@pytest.mark.usefixtures("folders")
async def test_a_run_waits_for_a_store_that_cannot_be_reached_before_it_starts(
    executor: ExecutorProcess, tmp_path: Path
) -> None:
    way, settings = out_of_reach(tmp_path)
    within_reach(way)
    snapshot = await executor.publish({b"main.py": b"print('ran')"}, store=open_store(settings, "demo"))
    cut_off(way)
    run = await executor.launch(make_spec(), snapshot, settings=settings)
    waits = await noticed(executor, run.id, "store_unreachable")
    within_reach(way)
    ended = await executor.follow(run.id)

    assert str(way) in waits
    assert {0: b"ran\n"} == ended.output
    assert RunState.RUN_STATE_SUCCEEDED == ended.run.state


@pytest.mark.usefixtures("folders")
async def test_a_run_that_waits_for_a_store_can_be_cancelled(
    executor: ExecutorProcess, tmp_path: Path
) -> None:
    executor.needs("cancel")
    way, settings = out_of_reach(tmp_path)
    within_reach(way)
    snapshot = await executor.publish({b"main.py": b"print('ran')"}, store=open_store(settings, "demo"))
    cut_off(way)
    run = await executor.launch(make_spec(), snapshot, settings=settings)
    await noticed(executor, run.id, "store_unreachable")
    await executor.cancel(run.id)
    ended = await executor.follow(run.id)

    assert {} == ended.output
    assert RunState.RUN_STATE_CANCELLED == ended.run.state


@pytest.mark.usefixtures("folders")
async def test_results_wait_for_a_store_that_cannot_be_reached(
    executor: ExecutorProcess, tmp_path: Path
) -> None:
    way, settings = out_of_reach(tmp_path)
    within_reach(way)
    program = pausing(executor) + WRITES.encode()
    snapshot = await executor.publish({b"main.py": program}, store=open_store(settings, "demo"))
    run = await executor.launch(make_spec(), snapshot, settings=settings)
    await executor.printed(run.id, b"up\n")
    cut_off(way)
    await noticed(executor, run.id, "store_unreachable")
    state = (await executor.get(run.id)).state
    within_reach(way)
    ended = await executor.follow(run.id)
    found = await executor.results(ended.run, store=open_store(settings, "demo"))

    assert RunState.RUN_STATE_COLLECTING == state
    assert RunState.RUN_STATE_SUCCEEDED == ended.run.state
    assert {b"text": ("file", 0o644, b"written")} == found


async def noticed(executor: ExecutorProcess, run: str, code: str) -> str:
    """The text of the first notice with this code, once it is there."""
    async for message in executor.messages(run, output=False):
        if message.WhichOneof("kind") == "event" and message.event.notice.code == code:
            return message.event.notice.text
    pytest.fail(f"there was no notice {code}: {await executor.get(run)}")


@pytest.mark.usefixtures("folders")
async def test_results_that_the_store_refuses_fail_the_run_and_stay_where_they_are(
    executor: ExecutorProcess, tmp_path: Path
) -> None:
    way, settings = out_of_reach(tmp_path)
    within_reach(way)
    program = pausing(executor) + WRITES.encode() + b"raise SystemExit(4)\n"
    snapshot = await executor.publish({b"main.py": program}, store=open_store(settings, "demo"))
    run = await executor.launch(
        make_spec(), snapshot, settings=settings, secrets=executor.secrets(TOKEN="hunter2")
    )
    await executor.printed(run.id, b"up\n")
    way.unlink()
    way.write_text("no folder")
    ended = await executor.follow(run.id)
    kept = [path for path in executor.holding(b"written") if run.id in str(path) and path.name == "text"]

    assert (OutcomeReason.OUTCOME_REASON_COLLECT, 4) == (
        ended.run.outcome.reason,
        ended.run.outcome.exit_code,
    )
    assert 1 == len(kept)
    assert str(kept[0].parent) in ended.run.outcome.detail
    assert [] == executor.holding(b"hunter2")


async def test_nothing_of_an_ended_run_but_its_record_stays(executor: ExecutorProcess) -> None:
    src: Listing = {
        b"main.py": b"",
        b"text": File(b"files-of-the-run" * 20, 0o444),
    }
    snapshot = await executor.publish(src)
    run = await executor.launch(make_spec(), snapshot, secrets=executor.secrets(TOKEN="hunter2"))
    ended = await executor.follow(run.id)
    await gone(executor.state / "runs" / run.id / "work")

    assert [] == executor.holding(b"files-of-the-run")
    assert [] == executor.holding(b"hunter2")
    assert ended == await executor.follow(run.id)


async def gone(folder: Path) -> None:
    """Return once a folder is gone."""
    async with asyncio.timeout(20):
        while os.path.lexists(folder):  # noqa: ASYNC110, ASYNC240 - another process removes it
            await asyncio.sleep(0.01)
