"""The program beside the ranks, as a process: what it tells, hears and stores, and that no kill loses any."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pollinator.chunks.keeping import read_lease
from pollinator.chunks.read import SnapshotReader
from pollinator.executors.kubernetes.data import CONTROL, OUTPUT, WORK
from pollinator.executors.kubernetes.pod import ENDING, NOTES
from pollinator.executors.kubernetes.results import kept_of
from pollinator.executors.kubernetes.told import Told
from support.lone_pod import RUN, LonePod
from support.sandbox import wait_until
from support.syncing import tree_listing

END_S = 20


@contextmanager
def collecting(pod: LonePod, **environment: str) -> Generator[subprocess.Popen[bytes]]:
    process = pod.start(**environment)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def results(pod: LonePod, told: Told) -> dict[bytes, bytes]:
    """Files of the results, by the last page."""
    end = told.pods[pod.uid].end
    assert end is not None
    reader = SnapshotReader(pod.store)
    snapshot = reader.open(kept_of({0: end})[0])
    found = tree_listing(reader, snapshot.result)
    return {path: data for path, (kind, _, data) in found.items() if kind == "file"}


def test_all_that_is_printed_is_told_and_then_the_results(tmp_path: Path) -> None:
    pod = LonePod(tmp_path)
    with collecting(pod) as process:
        pod.note("began", "ran")
        pod.print(0, b"hello\n")
        pod.wait_for(0, b"hello\n")
        (pod.at(WORK) / "result/out").write_bytes(b"made")
        pod.print(1, b"\xff\0" * 3_000_000)
        pod.print(0, b"bye\n")
        pod.note("rank 0 Done", "done")
        assert 0 == process.wait(END_S)
    told = pod.read_all()

    assert (b"hello\nbye\n", b"\xff\0" * 3_000_000) == (pod.output(0), pod.output(1))
    assert "began\nran\nrank 0 Done\ndone\n" == pod.journal()
    assert {b"out": b"made"} == results(pod, told)
    end = told.pods[pod.uid].end
    assert end is not None
    assert read_lease(pod.store, f"l/{RUN}N0").result.key == end["result"]["key"]


@pytest.mark.parametrize(
    "point",
    ["before_page", "before_page:2", "after_page", "after_page:2", "after_page:3", "before_pod_results"],
)
def test_killed_at_any_point_it_goes_on_where_it_was(tmp_path: Path, point: str) -> None:
    pod = LonePod(tmp_path)
    pod.note("began")
    pod.print(0, b"first\n")
    with collecting(pod, POLLINATOR_CRASH_AT=point) as process:
        wait_until(
            lambda: process.poll() is not None or b"first\n" in read(pod), "it was told, or it was killed"
        )
        pod.print(0, b"second\n")
        wait_until(lambda: process.poll() is not None or b"second\n" in read(pod), "so was this")
        (pod.at(WORK) / "result/out").write_bytes(b"made")
        pod.print(0, b"third\n")
        pod.note("done")
        assert -signal.SIGKILL == process.wait(END_S)
    with collecting(pod) as process:
        assert 0 == process.wait(END_S)
    told = pod.read_all()

    assert b"first\nsecond\nthird\n" == pod.output(0)
    assert "began\ndone\n" == pod.journal()
    assert {b"out": b"made"} == results(pod, told)


def read(pod: LonePod) -> bytes:
    pod.read_all()
    return pod.output(0)


def test_one_that_is_started_again_once_all_was_told_has_nothing_to_do(tmp_path: Path) -> None:
    pod = LonePod(tmp_path)
    pod.note("began", "done")
    for _ in range(2):
        with collecting(pod) as process:
            assert 0 == process.wait(END_S)

    assert len(pod.pages()) == 2
    pod.read_all()
    assert "began\ndone\n" == pod.journal()


def test_a_side_car_waits_for_the_kubelet(tmp_path: Path) -> None:
    pod = LonePod(tmp_path)
    pod.note("began", "done")
    process = pod.start_side_car()
    try:
        wait_until(lambda: pod.read_all().pods.get(pod.uid) is not None, "something is told")
        wait_until(lambda: pod.read_all().pods[pod.uid].end is not None, "all is told")
        assert process.poll() is None
        process.terminate()
        assert 0 == process.wait(END_S)
    finally:
        process.kill()
        process.communicate()


def test_words_of_the_executor_reach_the_ranks(tmp_path: Path) -> None:
    pod = LonePod(tmp_path)
    control, told = pod.at(CONTROL), pod.told()
    with collecting(pod) as process:
        pod.note("began")
        told.tell(pod.store, pod.uid, {"go": "n0,n1 10.0.0.1"})
        wait_until(lambda: (control / "go").read_text() == "n0,n1 10.0.0.1\n", "go is there")
        assert "" == (control / "stop").read_text()
        told.tell(pod.store, pod.uid, {"go": "n0,n1 10.0.0.1", "stop": "cancel", "other": "x"})
        wait_until(lambda: (control / "stop").read_text() == "cancel\n", "stop is there")
        assert process.poll() is None

    assert not (control / "other").exists()


def test_ranks_that_left_no_last_word_are_over_when_the_executor_says_so(tmp_path: Path) -> None:
    pod = LonePod(tmp_path)
    with collecting(pod) as process:
        pod.note("began")
        pod.print(0, b"so far")
        pod.wait_for(0, b"so far")
        (pod.at(WORK) / "result/out").write_bytes(b"half")
        pod.told().tell(pod.store, pod.uid, {}, gone=True)
        assert 0 == process.wait(END_S)
    told = pod.read_all()

    assert told.pods[pod.uid].quiet
    assert {b"out": b"half"} == results(pod, told)


def test_a_pod_that_is_to_end_waits_for_its_ranks_and_stores_what_there_is(tmp_path: Path) -> None:
    pod = LonePod(tmp_path)
    with collecting(pod) as process:
        pod.note("began")
        pod.print(0, b"so far\n")
        pod.wait_for(0, b"so far\n")
        process.terminate()
        time.sleep(0.5)
        assert process.poll() is None
        (pod.at(WORK) / "result/out").write_bytes(b"last")
        pod.print(0, b"last words\n")
        pod.note("done")
        assert 0 == process.wait(END_S)

    assert {b"out": b"last"} == results(pod, pod.read_all())
    assert b"so far\nlast words\n" == pod.output(0)


def test_ranks_that_have_ended_before_it_began_are_told_all_the_same(tmp_path: Path) -> None:
    pod = LonePod(tmp_path)
    pod.note("began", "ran", "done")
    pod.print(0, b"quick\n")
    pod.at(NOTES).mkdir(parents=True)
    (pod.at(NOTES) / ENDING).touch()
    process = pod.start_side_car()
    assert b"" == process.communicate(timeout=END_S)[1]

    assert 0 == process.returncode
    assert {} == results(pod, pod.read_all())
    assert b"quick\n" == pod.output(0)


def test_a_pod_that_is_to_end_before_its_ranks_began_does_so_at_once(tmp_path: Path) -> None:
    pod = LonePod(tmp_path)
    with collecting(pod) as process:
        wait_until((pod.root / "pollinator/notes").exists, "it is there")
        time.sleep(0.2)
        process.terminate()
        assert 0 == process.wait(END_S)


def test_a_store_that_does_not_answer_is_waited_for_and_nothing_is_lost(tmp_path: Path) -> None:
    pod = LonePod(tmp_path)
    real = tmp_path / "store"
    real.mkdir()
    way = tmp_path / "way"
    way.symlink_to(way.name)
    pod.set_store(way)
    with collecting(pod) as process:
        for at in range(5):
            pod.print(0, b"%d\n" % at)
            time.sleep(0.1)
        pod.note("began", "done")
        assert [] == pod.pages()
        # As the kubelet does once the executor has other credentials.
        pod.set_store(real)
        assert 0 == process.wait(END_S)
    pod.read_all()

    assert b"0\n1\n2\n3\n4\n" == pod.output(0)
    assert "began\ndone\n" == pod.journal()


def test_no_link_that_a_rank_has_made_is_followed(tmp_path: Path) -> None:
    pod = LonePod(tmp_path)
    secret = tmp_path / "secret"
    secret.write_text("done\nkeep out\n")
    (pod.at(OUTPUT) / "0").symlink_to(secret)
    os.mkfifo(pod.at(OUTPUT) / "1")
    (pod.at(OUTPUT) / ("9" * 40)).write_bytes(b"no rank")
    (pod.at(CONTROL) / "go").unlink()
    (pod.at(CONTROL) / "go").symlink_to(secret)
    (pod.at(WORK) / "result/link").symlink_to(secret)
    with collecting(pod) as process:
        pod.told().tell(pod.store, pod.uid, {"go": "overwritten"})
        pod.note("began", "done")
        assert 0 == process.wait(END_S)
    told = pod.read_all()

    assert "done\nkeep out\n" == secret.read_text()
    assert (b"", b"") == (pod.output(0), pod.output(1))
    assert {} == results(pod, told)


def test_results_that_are_no_folder_any_more_are_said_to_be_none(tmp_path: Path) -> None:
    pod = LonePod(tmp_path)
    (pod.at(WORK) / "result").rmdir()
    (pod.at(WORK) / "result").symlink_to("/etc")
    pod.note("began", "done")
    with collecting(pod) as process:
        assert 0 == process.wait(END_S)
    end = pod.read_all().pods[pod.uid].end

    assert end is not None
    assert "result" not in end
    assert "result is not a folder any more" == end["none"]


def test_a_run_that_may_have_another_attempt_leaves_its_data_as_well(tmp_path: Path) -> None:
    pod = LonePod(tmp_path)
    pod.change(keeps=True)
    (pod.at(WORK) / "data/kept").write_bytes(b"d")
    (pod.at(WORK) / "result/out").write_bytes(b"r")
    pod.note("began", "done")
    with collecting(pod) as process:
        assert 0 == process.wait(END_S)
    end = pod.read_all().pods[pod.uid].end
    assert end is not None
    reader = SnapshotReader(pod.store)
    left = reader.open(kept_of({0: end})[0])

    assert {b"kept"} == tree_listing(reader, left.data).keys()
    assert {b"out"} == tree_listing(reader, left.result).keys()
