"""The program before the ranks, as a process: files as the snapshot says, or word of why there are none."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from pollinator.chunks.capture import capture, capture_project
from pollinator.executors.conformance.trees import random_bytes
from pollinator.executors.kubernetes.data import CONTROL, OUTPUT, WORK
from pollinator.executors.kubernetes.pod import TERMINATION
from pollinator.v1.spec_pb2 import RunSpec
from pollinator.v1.tree_pb2 import SnapshotRef
from support.lone_pod import LonePod
from support.storing import listed

END_S = 30


@pytest.fixture
def pod(tmp_path: Path) -> LonePod:
    src, data = tmp_path / "src", tmp_path / "data"
    (src / "d").mkdir(parents=True)
    (src / "main.py").write_bytes(b"print()")
    (src / "d/run").write_bytes(b"#!/bin/sh")
    (src / "d/run").chmod(0o755)
    (src / "link").symlink_to("main.py")
    data.mkdir()
    (data / "big").write_bytes(random_bytes(3_000_000))
    pod = LonePod(tmp_path, node=1)
    pod.at("/dev").mkdir()
    pod.change(snapshot=capture_project(src, data, RunSpec(project="demo"), pod.store))
    return pod


def fetched(pod: LonePod) -> tuple[int, bytes]:
    process = pod.start("fetch")
    errors = process.communicate(timeout=END_S)[1]
    return process.returncode, errors


def test_files_are_as_the_snapshot_says(pod: LonePod, tmp_path: Path) -> None:
    assert (0, b"") == fetched(pod)
    work = pod.at(WORK)

    assert listed(tmp_path / "src") == listed(work / "src")
    assert listed(tmp_path / "data") == listed(work / "data")
    assert {} == listed(work / "result")
    assert 0o755 == stat.S_IMODE((work / "src").stat().st_mode)
    assert {"1", "go", "stop"} <= {each.name for each in pod.at(CONTROL).iterdir()}
    assert [] == list(pod.at(OUTPUT).iterdir())


def test_what_an_earlier_try_has_left_is_written_over(pod: LonePod, tmp_path: Path) -> None:
    (pod.at(WORK) / "src/d").mkdir(parents=True)
    (pod.at(WORK) / "src/d/half").write_bytes(b"half")

    assert (0, b"") == fetched(pod)
    assert listed(tmp_path / "src") == listed(pod.at(WORK) / "src")


def test_another_attempt_finds_what_the_one_before_has_left_on_this_node(
    pod: LonePod, tmp_path: Path
) -> None:
    left, data = tmp_path / "left", tmp_path / "changed"
    for folder, name in ((left, "checkpoint"), (data, "new")):
        folder.mkdir()
        (folder / name).write_bytes(b"x")
    (left / "out").symlink_to("/somewhere")
    other = capture(data, pod.store).ref
    pod.change(kept={0: other, 1: capture(left, pod.store, data=data).ref})

    assert (0, b"") == fetched(pod)
    work = pod.at(WORK)
    assert listed(tmp_path / "src") == listed(work / "src")
    assert (listed(data), listed(left)) == (listed(work / "data"), listed(work / "result"))


def test_files_that_are_not_there_are_said_to_be_missing(pod: LonePod) -> None:
    pod.change(snapshot=SnapshotRef(key="s/00/" + "0" * 64, digest=b"x" * 32))
    code, errors = fetched(pod)

    assert 1 == code
    assert "has no object s/00/" in pod.at(TERMINATION).read_text()
    assert b"has no object s/00/" in errors


def test_credentials_that_come_late_are_waited_for(pod: LonePod, tmp_path: Path) -> None:
    (tmp_path / "way").symlink_to("way")
    pod.set_store(tmp_path / "way")
    process = pod.start("fetch")
    try:
        assert process.stderr is not None
        while b"cannot read the store" not in process.stderr.readline():
            assert process.poll() is None
        pod.set_store(tmp_path / "store")
        process.communicate(timeout=END_S)
    finally:
        process.kill()

    assert 0 == process.returncode
    assert listed(tmp_path / "src") == listed(pod.at(WORK) / "src")
