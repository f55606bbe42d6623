"""From a save to a snapshot in a real bucket, and back, whatever the server does meanwhile."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pollinator.chunks.keys import namespace
from pollinator.chunks.s3 import S3Store
from pollinator.chunks.s3_asking import Patience
from pollinator.chunks.store import Store
from pollinator.executors.conformance.trees import random_bytes
from pollinator.v1.store_pb2 import StoreSettings
from pollinator.v1.tree_pb2 import SnapshotRef
from pollinator.wire.errors import Unavailable
from support.desk import Desk, desk_at, read_back
from support.s3_servers import S3Server
from support.sandbox import wait_until

pytestmark = pytest.mark.integration

MIB = 1024 * 1024
NAME_OF_OBJECT = re.compile(r"[psi]/([0-9a-f]{2})/\1[0-9a-f]{62}")
LASTING = Patience(tries=400, first_pause_s=0.02, longest_pause_s=0.1)
"""Sits an outage of some seconds out."""
SHORT = Patience(tries=2, first_pause_s=0.01)
Opener = Callable[[StoreSettings], Store]


@pytest.fixture
def store(server: S3Server, opened: Opener) -> Store:
    """A store of a project of one's own."""
    return opened(server.settings())


@pytest.fixture
def desk(store: Store, tmp_path: Path) -> Iterator[Desk]:
    """A desk at that store."""
    with desk_at(tmp_path / "desk", store) as made:
        yield made


def kinds(server: S3Server, project: str) -> list[str]:
    """Kinds of the objects of a project in its bucket: p for packs, s for snapshots."""
    return sorted(key.removeprefix(f"{namespace(project)}/")[0] for key in server.objects(namespace(project)))


# One writer


def test_what_is_saved_comes_back_the_same(
    desk: Desk, server: S3Server, opened: Opener, tmp_path: Path
) -> None:
    (desk.data / "large").write_bytes(random_bytes(9 * MIB))
    (desk.data / "sparse").touch()
    os.truncate(desk.data / "sparse", 30 * MIB)
    (desk.src / "empty").touch()
    (desk.src / "run").write_text("#!/bin/sh\n" * 1000)
    (desk.src / "run").chmod(0o755)
    os.symlink("run", desk.src / "link")
    (desk.src / "folder" / "none").mkdir(parents=True)
    Path(os.fsdecode(os.fsencode(desk.src) + b"/odd \xff\n")).write_bytes(b"odd")
    for at in range(500):
        (desk.src / "folder" / f"{at}.py").write_bytes(random_bytes(200, b"%d" % at))
    sealed = desk.seal()

    assert desk.listing() == read_back(opened(server.settings()), sealed.ref, tmp_path / "laid out")


def test_the_bucket_holds_packs_and_the_snapshot_below_the_project(
    desk: Desk, server: S3Server, project: str
) -> None:
    before = set(server.objects())
    (desk.data / "large").write_bytes(random_bytes(3 * MIB))
    desk.settle()

    assert kinds(server, project) == ["p"]
    sealed = desk.seal()
    made = set(server.objects()) - before

    assert kinds(server, project) == ["p", "s"]
    assert f"{namespace(project)}/{sealed.ref.key}" in made
    assert all(NAME_OF_OBJECT.fullmatch(key.removeprefix(f"{namespace(project)}/")) for key in made)


def test_a_prefix_stands_before_everything(server: S3Server, opened: Opener, tmp_path: Path) -> None:
    before = set(server.objects())
    with desk_at(tmp_path / "desk", opened(server.settings(prefix="team/a"))) as desk:
        (desk.src / "main.py").write_text("print(1)")
        sealed = desk.seal()
    made = set(server.objects()) - before

    assert len(made) == 1
    assert made.pop().startswith("team/a/pollinator/demo-")
    assert desk.listing() == read_back(opened(server.settings(prefix="team/a")), sealed.ref, tmp_path / "out")


def test_what_is_in_the_store_already_is_not_sent_again(desk: Desk, tmp_path: Path) -> None:
    (desk.data / "large").write_bytes(random_bytes(3 * MIB))
    desk.seal()
    unchanged = desk.seal().report
    (desk.src / "main.py").write_text("print(1)")
    changed = desk.seal().report

    assert (unchanged.requests, unchanged.bytes_uploaded) == (0, 0)
    assert changed.requests == 1
    assert changed.bytes_uploaded < 2000


def test_a_new_machine_reads_what_an_old_one_wrote_and_goes_on(
    server: S3Server, opened: Opener, tmp_path: Path
) -> None:
    with desk_at(tmp_path / "old", opened(server.settings())) as old:
        (old.data / "large").write_bytes(random_bytes(3 * MIB))
        first = old.seal()
    with desk_at(tmp_path / "new", opened(server.settings())) as new:
        (new.data / "large").write_bytes((old.data / "large").read_bytes()[: 2 * MIB])
        second = new.seal()

    reader = opened(server.settings())
    assert old.listing() == read_back(reader, first.ref, tmp_path / "out 1")
    assert new.listing() == read_back(reader, second.ref, tmp_path / "out 2")


# Two writers


def test_two_writers_of_one_project_do_not_disturb_each_other(
    server: S3Server, opened: Opener, tmp_path: Path
) -> None:
    # Both write the very same objects at the same time, and others beside them. No server is asked
    # for a condition, so one that ignores conditions serves as well.
    rounds = 8
    start = threading.Barrier(2)

    def work(name: str) -> list[tuple[SnapshotRef, dict[str, dict[bytes, tuple[str, int, bytes]]]]]:
        done: list[tuple[SnapshotRef, dict[str, dict[bytes, tuple[str, int, bytes]]]]] = []
        with desk_at(tmp_path / name, opened(server.settings())) as desk:
            for at in range(rounds):
                (desk.data / "same").write_bytes(random_bytes(MIB, b"%d" % at))
                (desk.src / "own").write_text(f"{name} {at}" if at % 2 else "same")
                start.wait(20)
                done.append((desk.seal().ref, desk.listing()))
        return done

    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(work, ("one", "two"))
    reader = opened(server.settings())

    assert len({ref.digest for ref, _ in first + second}) == 2 * rounds - rounds // 2
    for at, (ref, listing) in enumerate(first + second):
        assert listing == read_back(reader, ref, tmp_path / f"out {at}")


# Outages


def test_an_outage_is_told_and_nothing_is_lost(server: S3Server, project: str, tmp_path: Path) -> None:
    store = S3Store(server.settings().s3, namespace(project), SHORT)
    with desk_at(tmp_path / "desk", store) as desk:
        (desk.src / "first").write_text("1")
        desk.seal()
        server.stop()
        try:
            (desk.src / "second").write_bytes(random_bytes(MIB))
            with pytest.raises(Unavailable) as caught:
                desk.seal()
            told = desk.engine.status().problem
        finally:
            server.start()
        sealed = desk.seal()
        listing = desk.listing()

    assert caught.value.reason == "store_unreachable"
    assert server.endpoint in told
    assert listing == read_back(store, sealed.ref, tmp_path / "out")
    store.close()


def test_the_background_goes_on_by_itself_after_an_outage(
    rclone_s3: S3Server, project: str, tmp_path: Path
) -> None:
    store = S3Store(rclone_s3.settings().s3, namespace(project), SHORT)
    with desk_at(tmp_path / "desk", store) as desk:
        desk.seal()
        rclone_s3.stop()
        try:
            (desk.src / "saved").write_bytes(random_bytes(MIB))

            def failed() -> bool:
                desk.engine.step()
                desk.engine.wait(0.05)
                return bool(desk.engine.status().problem)

            wait_until(failed, "the outage is noticed")
        finally:
            rclone_s3.start()
        desk.settle()
        left = desk.seal().report.bytes_uploaded

    assert desk.engine.status().problem == ""
    assert left < 2000
    store.close()


def test_a_seal_sits_a_short_outage_out(server: S3Server, project: str, tmp_path: Path) -> None:
    store = S3Store(server.settings().s3, namespace(project), LASTING)
    with desk_at(tmp_path / "desk", store) as desk, ThreadPoolExecutor(1) as threads:
        (desk.data / "large").write_bytes(random_bytes(3 * MIB))
        desk.engine.step()
        server.stop()
        try:
            sealing = threads.submit(desk.seal)
            wait_until(lambda: store.requests > 3, "it tries again")
        finally:
            server.start()
        sealed = sealing.result(30)

        assert desk.listing() == read_back(store, sealed.ref, tmp_path / "out")
    store.close()


def test_a_server_killed_under_uploads_loses_nothing_that_was_sealed(
    server: S3Server, project: str, tmp_path: Path
) -> None:
    store = S3Store(server.settings().s3, namespace(project), LASTING)
    with desk_at(tmp_path / "desk", store) as desk, ThreadPoolExecutor(1) as threads:
        for at in range(3):
            (desk.data / f"{at}").write_bytes(random_bytes(16 * MIB, b"%d" % at))
        sealing = threads.submit(desk.seal)
        wait_until(lambda: store.requests >= 2, "packs are on their way")
        server.stop()
        server.start()
        sealed = sealing.result(50)

        assert store.requests > len(server.objects(namespace(project))), "no request was cut"
        assert desk.listing() == read_back(store, sealed.ref, tmp_path / "out")
    store.close()
