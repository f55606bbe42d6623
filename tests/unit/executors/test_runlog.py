"""Runs on disk: what is written is read again, whatever happened in between."""

from __future__ import annotations

import asyncio
import stat
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import xxhash

from pollinator.executors.runlog import RunFolder, RunFolders
from pollinator.executors.trees import remove_tree
from pollinator.v1.run_pb2 import (
    Notice,
    Outcome,
    OutcomeReason,
    Run,
    RunEvent,
    RunState,
    Secret,
    StartRunRequest,
    StateChanged,
)
from pollinator.wire.errors import InvalidInput, NotFound
from support.disk import full_disk

SECRET = b"hunter2-never-at-rest"


def request(run_id: str = "run1") -> StartRunRequest:
    made = StartRunRequest(request_id="q", secrets=[Secret(name="TOKEN", value=SECRET.decode())])
    made.snapshot.run_id = run_id
    made.snapshot.snapshot.key = "s/1"
    made.snapshot.store.s3.secret_key = SECRET.decode()
    return made


def create(root: Path, run_id: str = "run1") -> RunFolder:
    return RunFolders(root).create(Run(id=run_id, project="p"), request(run_id))


def moved(state: RunState.ValueType) -> RunEvent:
    return RunEvent(state_changed=StateChanged(state=state))


def run_it(folder: RunFolder) -> None:
    folder.append(moved(RunState.RUN_STATE_LAUNCHING))
    folder.append(moved(RunState.RUN_STATE_RUNNING))


def noted(text: str) -> RunEvent:
    return RunEvent(notice=Notice(text=text))


def again(folder: RunFolder) -> RunFolder:
    return RunFolder(folder.path)


def test_events_are_read_again_in_order(tmp_path: Path) -> None:
    folder = create(tmp_path)
    for text in ("one", "two"):
        folder.append(noted(text))

    assert folder.log == again(folder).log
    assert folder.run == again(folder).run
    assert [1, 2, 3] == [event.seq for event in folder.log]
    assert all(event.HasField("time") for event in folder.log)


def test_a_tail_torn_at_any_byte_is_cut_off_and_written_on(tmp_path: Path) -> None:
    folder = create(tmp_path)
    sizes = [(folder.path / "events.log").stat().st_size]
    for number in range(3):
        folder.append(noted("x" * number * 40))
        sizes.append((folder.path / "events.log").stat().st_size)
    whole = (folder.path / "events.log").read_bytes()
    for cut in range(sizes[0], len(whole)):
        (folder.path / "events.log").write_bytes(whole[:cut])
        torn = again(folder)
        complete = sum(size <= cut for size in sizes)

        assert folder.log[:complete] == torn.log
        assert sizes[complete - 1] == (folder.path / "events.log").stat().st_size
        torn.append(noted("next"))
        assert torn.log == again(folder).log


def test_an_event_that_is_damaged_ends_the_log(tmp_path: Path) -> None:
    folder = create(tmp_path)
    begin = (folder.path / "events.log").stat().st_size
    folder.append(noted("something to damage"))
    whole = bytearray((folder.path / "events.log").read_bytes())
    for at in range(begin, len(whole)):
        damaged = whole.copy()
        damaged[at] ^= 0x40
        (folder.path / "events.log").write_bytes(damaged)

        assert 1 == len(again(folder).log), f"byte {at}"


@pytest.mark.parametrize("room", [0, 1, 7, 8, 20])
def test_an_event_that_did_not_fit_on_the_disk_never_was(tmp_path: Path, room: int) -> None:
    folder = create(tmp_path)
    before = (folder.path / "events.log").read_bytes()

    with full_disk(len(before) + room), pytest.raises(OSError, match=r"No space left|File too large"):
        folder.append(noted("does not fit"))

    assert before == (folder.path / "events.log").read_bytes()
    folder.append(noted("fits"))
    assert folder.log == again(folder).log
    assert ["fits"] == [event.notice.text for event in folder.log[1:]]


@pytest.mark.parametrize("left", ["nothing", "an empty log", "half an event"])
def test_a_run_that_was_not_accepted_is_forgotten_and_may_come_again(tmp_path: Path, left: str) -> None:
    folder = create(tmp_path)
    whole = (folder.path / "events.log").read_bytes()
    match left:
        case "nothing":
            (folder.path / "events.log").unlink()
        case "an empty log":
            (folder.path / "events.log").write_bytes(b"")
        case _:
            (folder.path / "events.log").write_bytes(whole[:-1])
    folders = RunFolders(tmp_path)

    assert [] == folders.all()
    assert not folder.path.exists()
    assert RunState.RUN_STATE_ACCEPTED == folders.create(Run(id="run1"), request()).run.state


def test_a_log_that_makes_no_sense_is_left_alone_and_hinders_no_other(tmp_path: Path) -> None:
    create(tmp_path, "good")
    bad = create(tmp_path, "zbad")
    body = RunEvent(seq=2, state_changed=StateChanged(state=RunState.RUN_STATE_SUCCEEDED)).SerializeToString()
    with (bad.path / "events.log").open("ab") as file:
        file.write(struct.pack("<II", len(body), xxhash.xxh32_intdigest(body)) + body)
    (tmp_path / "stray").write_text("a file")

    folders = RunFolders(tmp_path)

    assert ["good"] == [folder.run.id for folder in folders.all()]
    assert bad.path.exists()


def test_runs_are_found_by_their_id_or_what_only_they_begin_with(tmp_path: Path) -> None:
    folders = RunFolders(tmp_path)
    for run_id in ("ab", "abc", "b1", "b2"):
        folders.create(Run(id=run_id), request(run_id))

    assert ["ab", "abc", "b1"] == [folders.find(name).run.id for name in ("ab", "abc", "b1")]
    with pytest.raises(InvalidInput, match="fits several"):
        folders.find("b")
    for unknown in ("", "x", "abcd", "AB"):
        with pytest.raises(NotFound):
            folders.find(unknown)
    with pytest.raises(NotFound):
        folders.folder("a")


def test_runs_are_listed_oldest_first(tmp_path: Path) -> None:
    for run_id in ("2", "1", "3"):
        create(tmp_path, run_id)

    assert ["1", "2", "3"] == [folder.run.id for folder in RunFolders(tmp_path).all()]


def at_rest(folder: RunFolder) -> list[str]:
    """Names of files that hold the secret."""
    return sorted(
        path.name for path in folder.path.iterdir() if path.is_file() and SECRET in path.read_bytes()
    )


def test_secrets_are_in_one_private_file_as_long_as_they_are_needed(tmp_path: Path) -> None:
    folder = create(tmp_path)

    assert request() == again(folder).request()
    assert ["private.pb"] == at_rest(folder)
    assert {0o600} == {stat.S_IMODE(path.stat().st_mode) for path in folder.path.iterdir()}
    assert 0o700 == stat.S_IMODE(folder.path.stat().st_mode)
    folder.drop_secrets()
    assert [] == list(folder.request().secrets)
    assert SECRET.decode() == folder.request().snapshot.store.s3.secret_key
    folder.release()
    assert [] == at_rest(folder)


def test_of_a_run_that_ended_only_events_and_output_stay(tmp_path: Path) -> None:
    folder = create(tmp_path)
    (folder.path / "work" / "src").mkdir(parents=True)
    (folder.path / "output").mkdir()
    for name in ("secrets.json", "launch.json", "output/0"):
        (folder.path / name).write_text("x")
    folder.append(moved(RunState.RUN_STATE_FAILED))

    folder.release()
    folder.release()

    assert ["events.log", "output", "request.pb"] == sorted(path.name for path in folder.path.iterdir())


def test_results_that_could_not_be_stored_stay_without_the_secrets(tmp_path: Path) -> None:
    folder = create(tmp_path)
    (folder.path / "work" / "result").mkdir(parents=True)
    (folder.path / "secrets.json").write_bytes(SECRET)
    end = moved(RunState.RUN_STATE_FAILED)
    end.state_changed.outcome.CopyFrom(Outcome(reason=OutcomeReason.OUTCOME_REASON_COLLECT))
    folder.append(end)

    folder.release()

    assert (folder.path / "work" / "result").is_dir()
    assert [] == list(folder.request().secrets)
    assert not (folder.path / "secrets.json").exists()


def test_output_is_read_by_rank_and_offset(tmp_path: Path) -> None:
    folders = RunFolders(tmp_path)
    folder = folders.create(Run(id="run1"), request())
    assert [] == list(folders.ranks("run1"))
    assert (0, b"") == (folders.output_size("run1", 0), folders.read_output("run1", 0, 0, 9))
    (folder.path / "output").mkdir()
    for name in ("10", "9", "0", "core.1234", "x"):
        (folder.path / "output" / name).write_text(f"rank {name}")
    run_it(folder)

    assert [0, 9, 10] == list(folders.ranks("run1"))
    assert 7 == folders.output_size("run1", 10)
    assert [b"nk", b"", b""] == [folders.read_output("run1", 9, at, 2) for at in (2, 6, 99)]


def test_nothing_is_told_of_output_before_the_run_is_known_to_run(tmp_path: Path) -> None:
    folders = RunFolders(tmp_path)
    folder = folders.create(Run(id="run1"), request())
    (folder.path / "output").mkdir()
    (folder.path / "output" / "0").write_text("quick")
    folder.append(moved(RunState.RUN_STATE_LAUNCHING))
    folder.append(moved(RunState.RUN_STATE_QUEUED))

    assert ([], 0) == (list(folders.ranks("run1")), folders.output_size("run1", 0))
    folder.append(moved(RunState.RUN_STATE_RUNNING))
    assert ([0], 5) == (list(folders.ranks("run1")), folders.output_size("run1", 0))


def test_output_stays_when_the_run_waits_again(tmp_path: Path) -> None:
    folders = RunFolders(tmp_path)
    folder = folders.create(Run(id="run1"), request())
    (folder.path / "output").mkdir()
    (folder.path / "output" / "0").write_text("first")
    run_it(folder)
    again = moved(RunState.RUN_STATE_QUEUED)
    again.state_changed.attempt = 2
    folder.append(again)

    assert ([0], 5) == (list(folders.ranks("run1")), folders.output_size("run1", 0))


async def test_a_watcher_is_woken_by_events_and_by_output(tmp_path: Path) -> None:
    folders = RunFolders(tmp_path)
    folder = folders.create(Run(id="run1"), request())
    (folder.path / "output").mkdir()

    for grow in (lambda: folder.append(noted("x")), lambda: (folder.path / "output/0").write_text("x")):
        seen = folders.version("run1")
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            woken = group.create_task(folders.changed("run1", seen, 60))
            await asyncio.sleep(0)
            assert not woken.done()
            grow()
        assert folders.version("run1") > seen


async def test_a_watcher_is_woken_when_the_time_is_over(tmp_path: Path) -> None:
    folders = RunFolders(tmp_path)
    folders.create(Run(id="run1"), request())

    async with asyncio.timeout(20):
        await folders.changed("run1", folders.version("run1"), 0.05)


LOCKED = """
import os, sys
from pathlib import Path
from pollinator.executors.trees import remove_tree

os.chdir(sys.argv[1])
if os.geteuid() == 0:
    os.setuid(65534)
os.makedirs("tree/a/b")
os.symlink("../kept", "tree/link")
Path("tree/a/b/file").write_text("x")
os.mkdir("kept")
os.chmod("kept", 0o500)
for folder, mode in (("tree/a/b", 0o000), ("tree/a", 0o500), ("tree", 0o500)):
    os.chmod(folder, mode)
remove_tree(Path("tree"))
print(os.path.exists("tree"), oct(os.stat("kept").st_mode & 0o777))
"""


def test_folders_that_a_program_closed_are_removed_too() -> None:
    """In a process without the rights of root, whom no mode can stop."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        done = subprocess.run([sys.executable, "-c", LOCKED, folder], capture_output=True, check=False)

    assert b"False 0o500\n" == done.stdout, done.stderr


def test_a_tree_that_is_not_there_is_removed(tmp_path: Path) -> None:
    remove_tree(tmp_path / "nothing")
