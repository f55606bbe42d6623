"""Pods that share no volume with the executor: what they are given, and what is made of what they tell."""

from __future__ import annotations

import asyncio
import base64
import errno
import json
import math
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from pollinator.chunks.capture import capture
from pollinator.chunks.read import SnapshotReader
from pollinator.executors.base import Job
from pollinator.executors.kubernetes import bucket as bucket_module
from pollinator.executors.kubernetes import relay as relay_module
from pollinator.executors.kubernetes.bucket import Bucket
from pollinator.executors.kubernetes.credentials import Issued, Owner
from pollinator.executors.kubernetes.data import STOP, PodSeen
from pollinator.executors.kubernetes.pages import WORDS, Incoming, Outgoing, Page, Piece
from pollinator.executors.kubernetes.pod import PLAN, STORE, Plan
from pollinator.executors.kubernetes.settings import Site
from pollinator.executors.records import write_exit
from pollinator.v1.run_pb2 import SnapshotSource
from pollinator.v1.spec_pb2 import RunSpec
from pollinator.v1.store_pb2 import FolderStore as FolderSettings
from pollinator.v1.store_pb2 import StoreSettings
from pollinator.v1.tree_pb2 import SnapshotRef
from pollinator.wire.errors import NotFound, Unavailable, WrongState
from support.lone_pod import RUN, LonePod, ToldCluster
from support.syncing import tree_listing

UIDS = [f"00000000-aaaa-4bbb-8ccc-00000000000{node}" for node in range(4)]
SITE = Site(executor_image="example.org/pollinator:1", bucket=True)


class Place:
    """An executor with one run of two nodes, and their pods."""

    def __init__(self, folder: Path, nodes: int = 2) -> None:
        self.folder = folder
        self.pods = [LonePod(folder, node, UIDS[node]) for node in range(nodes)]
        self.store = self.pods[0].store
        settings = StoreSettings(folder=FolderSettings(path=str(folder / "store")))
        self.spec = RunSpec(project="demo", nodes=nodes, processes_per_node=2)
        ref = SnapshotRef(key="s/00/" + "0" * 64, digest=b"x")
        source = SnapshotSource(run_id=RUN, snapshot=ref, store=settings, spec=self.spec)
        self.job = Job(RUN, self.spec, folder / "executor", source)
        self.cluster = ToldCluster()
        self.bucket = Bucket(self.cluster, SITE, "me", 5.0)
        self._serving: asyncio.Task[None] | None = None

    def start(self, group: asyncio.TaskGroup) -> None:
        """Have it served."""
        self._group = group
        self._serving = group.create_task(self.bucket.serve())

    async def end(self) -> None:
        """End it as its process would, and see that nothing of it goes on."""
        assert self._serving is not None
        self._serving.cancel()
        await until(lambda: not any(each.name.startswith("bucket") for each in threading.enumerate()))

    async def restart(self) -> None:
        await self.end()
        self.bucket = Bucket(self.cluster, SITE, "me", 5.0)
        self.start(self._group)

    def say(self, node: int, *pieces: Piece, uid: str = "", **about: Any) -> None:
        """A pod tells something."""
        folder = self.folder / f"says-{uid or UIDS[node]}"
        folder.mkdir(exist_ok=True)
        out = Outgoing(folder, RUN, uid or UIDS[node])
        out.send(self.store, Page(pieces, about={"node": node, **about}), {})

    def ends(self, node: int, files: dict[str, bytes], **about: Any) -> None:
        """A pod tells where its results are."""
        folder = self.folder / f"result-{node}"
        folder.mkdir()
        for name, data in files.items():
            (folder / name).write_bytes(data)
        ref = capture(folder, self.store).ref
        self.say(node, over=True, result={"key": ref.key, "digest": ref.digest.hex()}, **about)

    def see(self, *pods: PodSeen, attempt: int = 1) -> None:
        self.bucket.see(self.job, attempt, pods)

    def runs(self) -> None:
        self.see(*(PodSeen(node, UIDS[node], ended=False, gone=False) for node in range(len(self.pods))))

    def results(self, ref: SnapshotRef | None) -> dict[bytes, bytes]:
        assert ref is not None
        reader = SnapshotReader(self.store)
        found = tree_listing(reader, reader.open(ref).result)
        return {path: data for path, (_, _, data) in found.items()}


@pytest.fixture
def issued(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Credentials for whoever asks; gives who did."""
    asked: list[str] = []

    def issue(source: SnapshotSource, owner: Owner) -> Issued:
        asked.append(source.run_id)
        settings = StoreSettings()
        settings.s3.bucket = f"b{len(asked)}"
        return Issued(settings, math.inf)

    monkeypatch.setattr(bucket_module, "issue", issue)
    return asked


@pytest.fixture
async def place(tmp_path: Path, issued: list[str], monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Place]:
    monkeypatch.setattr(relay_module, "AGAIN_S", (0.02, 0.1))
    monkeypatch.setattr(relay_module, "LOOK_S", 0.05)
    monkeypatch.setattr(relay_module, "FIRST_LOOK_S", 0.01)
    monkeypatch.setattr(bucket_module, "RENEW_LOOK_S", 0.01)
    place = Place(tmp_path)
    async with asyncio.TaskGroup() as group:
        place.start(group)
        yield place
        await place.end()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 - files ring no bell
            await asyncio.sleep(0.01)


async def test_what_all_pods_print_is_here_and_their_journals(place: Place) -> None:
    place.bucket.prepare(place.job, 1)
    place.runs()
    place.say(0, Piece(1, 0, b"one"), Piece(-1, 0, b"began\n"))
    place.say(1, Piece(2, 0, b"two"), Piece(-1, 0, b"began\nran\n"))
    await until(lambda: place.bucket.journal(place.job, 1, 1, 0) == b"began\nran\n")
    await until(lambda: place.bucket.journal(place.job, 1, 0, 2) == b"gan\n")

    assert {"1": b"one", "2": b"two"} == {
        each.name: each.read_bytes() for each in (place.folder / "executor/output").iterdir()
    }


async def test_it_goes_on_after_a_restart_also_with_pods_that_nobody_knows_any_more(place: Place) -> None:
    place.bucket.prepare(place.job, 1)
    place.runs()
    place.say(0, Piece(0, 0, b"a"))
    await until(lambda: place.pods[0].output(0) == b"a")
    await place.restart()
    place.say(0, Piece(0, 1, b"b"))
    place.ends(0, {"f": b""})
    place.say(1, quiet=True)
    place.see()
    await until(lambda: place.bucket.settled(place.job, 1))

    assert b"ab" == place.pods[0].output(0)
    fetched = await place.bucket.fetch(place.job, lambda done: None) if failed(place) else None
    assert fetched is not None
    assert {b"f": b""} == place.results(fetched.stored)
    assert ["the results of node 1 are lost: its pod was gone before they were stored"] == [
        each.text for each in fetched.notices
    ]


async def test_pods_are_heard_once_a_disk_that_was_full_has_room(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[Path] = []

    def full(path: Path, value: object) -> None:
        tried.append(path)
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    place.bucket.prepare(place.job, 1)
    with monkeypatch.context() as patched:
        patched.setattr(relay_module, "write_json", full)
        place.runs()
        await until(lambda: len(tried) > 1)
    place.say(0, Piece(0, 0, b"a"))
    await until(lambda: place.pods[0].output(0) == b"a")
    await place.restart()
    place.say(1, Piece(2, 0, b"b"), quiet=True)
    place.see()
    await until(lambda: place.bucket.settled(place.job, 1))

    assert b"b" == (place.folder / "executor/output/2").read_bytes()


def failed(place: Place, reason: str = "node_failed") -> bool:
    write_exit(place.job.workspace, {"reason": reason})
    return True


async def test_results_of_all_nodes_are_one(place: Place) -> None:
    write_exit(place.job.workspace, {"reason": ""})
    place.runs()
    place.ends(0, {"both": b"0", "own0": b"a"})
    place.ends(1, {"both": b"1", "own1": b"b"}, skipped=["result/pipe: no file, folder or link"])
    fetched = await place.bucket.fetch(place.job, lambda done: None)

    assert {b"both": b"1", b"own0": b"a", b"own1": b"b"} == place.results(fetched.stored)
    assert [
        ("not_collected", "not collected: result/pipe: no file, folder or link (node 1)"),
        ("result_of_last_node", "several nodes left their own result/both: that of the last is kept"),
    ] == [(each.code, each.text) for each in fetched.notices]
    assert [] == list(place.store.keys("t/"))
    again = await place.bucket.fetch(place.job, lambda done: None)
    assert place.results(again.stored) == place.results(fetched.stored)


@pytest.mark.parametrize("how", ["gone", "failed", "damaged"])
async def test_a_run_whose_results_are_lost_is_no_success(place: Place, how: str) -> None:
    write_exit(place.job.workspace, {"reason": ""})
    place.ends(0, {"f": b""})
    match how:
        case "gone":
            place.say(1, Piece(2, 0, b"so far"))
            words = "its pod was gone"
        case "failed":
            place.say(1, over=True, failed="the quota is full")
            words = "the quota is full"
        case _:
            place.say(1, Piece(7, 0, b"of another node"))
            words = "cannot be read"
    place.see(*(PodSeen(node, UIDS[node], ended=True, gone=how == "gone") for node in range(2)))
    with pytest.raises(WrongState, match=f"node 1 are lost: .*{words}"):
        await place.bucket.fetch(place.job, lambda done: None)


async def test_a_run_that_has_left_no_folder_has_none_here_either(place: Place) -> None:
    write_exit(place.job.workspace, {"reason": ""})
    (place.job.work / "result").mkdir(parents=True)
    place.runs()
    for node in range(2):
        place.say(node, over=True, none="result is not a folder any more")
    fetched = await place.bucket.fetch(place.job, lambda done: None)

    assert (None, []) == (fetched.stored, list(fetched.notices))
    assert not (place.job.work / "result").exists()


async def test_a_run_that_never_had_pods_has_no_results(place: Place) -> None:
    failed(place, "cancelled")
    fetched = await place.bucket.fetch(place.job, lambda done: None)

    assert (None, []) == (fetched.stored, list(fetched.notices))


async def test_pods_are_told_each_word_once_and_that_their_ranks_are_gone(place: Place) -> None:
    place.bucket.prepare(place.job, 1)
    place.runs()
    place.bucket.tell(place.job, 1, STOP, "cancel")

    def heard(node: int) -> list[tuple[dict[str, str], bool]]:
        pages, found = Incoming(RUN, UIDS[node] + WORDS), list[tuple[dict[str, str], bool]]()
        while (page := pages.next(place.store)) is not None:
            found.append((dict(page.files), bool(page.about["gone"])))
            pages.number += 1
        return found

    await until(lambda: heard(0) == heard(1) == [({"stop": "cancel"}, False)])
    await place.restart()
    place.see(PodSeen(0, UIDS[0], ended=True, gone=False), PodSeen(1, UIDS[1], ended=False, gone=False))
    await until(lambda: heard(0) == [({"stop": "cancel"}, False), ({}, True)])
    assert heard(1) == [({"stop": "cancel"}, False)]


async def test_a_word_from_a_thread_wakes_its_run_from_the_loops_and_none_that_is_over(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    woken: list[bool] = []

    def wake(relay: relay_module.Relay) -> None:
        woken.append(threading.current_thread() is threading.main_thread())

    monkeypatch.setattr(relay_module.Relay, "wake", wake)
    place.bucket.prepare(place.job, 1)
    place.runs()
    await asyncio.sleep(0)
    await asyncio.to_thread(place.bucket.tell, place.job, 1, STOP, "cancelled")
    await until(lambda: bool(woken))
    place.bucket.forget(place.job)
    await asyncio.to_thread(place.bucket.tell, place.job, 1, STOP, "cancelled")
    await asyncio.sleep(0.1)

    assert [True] == woken


async def test_results_wait_for_a_store_that_does_not_answer(place: Place) -> None:
    write_exit(place.job.workspace, {"reason": ""})
    place.ends(0, {"f": b""})
    place.ends(1, {"g": b""})
    (place.folder / "store").rename(place.folder / "moved")
    (place.folder / "store").symlink_to("store")
    place.runs()
    with pytest.raises(Unavailable):
        await place.bucket.fetch(place.job, lambda done: None)
    (place.folder / "store").unlink()
    (place.folder / "moved").rename(place.folder / "store")
    relay_is_well = place.bucket.settled
    await until(lambda: relay_is_well(place.job, 1))

    assert {b"f", b"g"} == place.results(
        (await place.bucket.fetch(place.job, lambda done: None)).stored
    ).keys()


async def test_the_next_attempt_gets_what_each_node_has_left(place: Place) -> None:
    place.spec.requeue = True
    place.runs()
    place.ends(0, {"checkpoint": b"0"})
    place.see(*(PodSeen(node, UIDS[node], ended=True, gone=True) for node in range(2)))
    await until(lambda: place.bucket.awaited(place.job, 2) is None)
    (secret,) = await place.bucket.objects(place.job, 2)
    plan = Plan.from_json(base64.b64decode(secret["data"][PLAN]).decode())

    assert plan.keeps
    assert {0} == plan.kept.keys()
    assert {b"checkpoint": b"0"} == place.results(plan.kept[0])


# What pods are given


async def test_ranks_see_neither_the_secret_nor_the_notes(place: Place) -> None:
    parts = place.bucket.parts(place.job, 1)
    seen = {each["name"] for each in parts.mounts}
    secret = {each["name"] for each in parts.volumes if "secret" in each}

    assert {"store"} == secret
    assert {"files", "told"} == seen
    assert [True] == [each.get("readOnly") for each in parts.mounts if each.get("subPath") == "src"]


async def test_collect_is_a_side_car_also_after_a_restart_and_where_no_cluster_answers(place: Place) -> None:
    place.cluster.fails = [Unavailable("not now", reason="x")]
    await place.bucket.stage(place.job, place.store, lambda done: None)
    await place.restart()
    before = place.bucket.parts(place.job, 1).before

    assert [("fetch", None), ("collect", "Always")] == [
        (each["name"], each.get("restartPolicy")) for each in before
    ]


async def test_the_secret_holds_the_way_to_the_store_and_the_plan(place: Place) -> None:
    (secret,) = await place.bucket.objects(place.job, 1)
    data = {name: base64.b64decode(text) for name, text in secret["data"].items()}

    assert "pollinator-run1-store" == secret["metadata"]["name"]
    assert "b1" == StoreSettings.FromString(data[STORE]).s3.bucket
    assert RUN == json.loads(data[PLAN])["run_id"]


async def test_new_credentials_are_handed_on_once(place: Place, issued: list[str]) -> None:
    await place.bucket.objects(place.job, 1)
    place.cluster.fails = [Unavailable("not now", reason="x")]
    place.job.source.store.folder.path += "/."
    place.runs()
    await until(lambda: bool(place.cluster.asked))
    await asyncio.sleep(0.1)

    assert 1 == len(place.cluster.asked)
    method, path, body = place.cluster.asked[0]
    assert ("PATCH", "/api/v1/namespaces/runs/secrets/pollinator-run1-store") == (method, path)
    assert {STORE} == body["data"].keys()
    assert [RUN] * 3 == issued


async def test_credentials_that_nobody_can_issue_end_no_more_than_a_try(place: Place) -> None:
    await place.bucket.objects(place.job, 1)
    # As boto3 has it for a profile that is not there any more.
    place.cluster.fails = [ValueError("The config profile (lab) could not be found")]
    place.job.source.store.folder.path += "/."
    await until(lambda: bool(place.cluster.asked))

    assert ["PATCH"] == [method for method, _, _ in place.cluster.asked]


async def test_a_secret_that_is_gone_is_not_renewed_for_ever(place: Place) -> None:
    await place.bucket.objects(place.job, 1)
    place.cluster.fails = [NotFound("gone", reason="kubernetes_missing")]
    place.job.source.store.folder.path += "/."
    await until(lambda: not place.cluster.fails)
    await asyncio.sleep(0.1)

    assert [] == place.cluster.asked
