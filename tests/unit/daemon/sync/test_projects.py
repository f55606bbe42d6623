"""Which projects are open, and by which store."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from pollinator.chunks import s3, s3_asking
from pollinator.daemon.pool import Pool
from pollinator.daemon.records import Records
from pollinator.daemon.sync.projects import PROJECT_MIGRATION, OpenProject, Projects
from pollinator.daemon.sync.stores import StoreKeeper
from pollinator.executors.conformance.trees import random_bytes
from pollinator.v1.spec_pb2 import RunSpec
from pollinator.v1.store_pb2 import FolderStore, StoreSettings
from pollinator.v1.store_pb2 import S3Store as S3Settings
from support.scripted_s3 import Answer, refusal, serving


@asynccontextmanager
async def projects_in(folder: Path) -> AsyncGenerator[Projects]:
    records = Records(folder / "daemon.db", (PROJECT_MIGRATION,))
    pool = Pool("io", 2)
    async with asyncio.TaskGroup() as group:
        projects = Projects(records, StoreKeeper(folder / "stores"), folder / "indexes", group, pool)
        try:
            yield projects
        finally:
            await projects.close()
            pool.close()
            records.close()


def project_in(folder: Path, name: str = "demo") -> Path:
    root = folder / name
    for tree in ("src", "data"):
        (root / "cfs" / tree).mkdir(parents=True)
    (root / "project.yaml").write_text("projectname: demo\nenvironment:\n  cmd: python3\n")
    return root


def by_key(port: int, key: str) -> StoreSettings:
    settings = S3Settings(
        endpoint=f"http://127.0.0.1:{port}", bucket="bucket", access_key=key, secret_key="secretsecret"
    )
    return StoreSettings(s3=settings)


async def until(project: OpenProject, condition: Callable[[], bool]) -> None:
    while not condition():
        await project.worker.changed(project.worker.version, 0.02)


async def test_keys_that_were_put_right_are_used_at_once(tmp_path: Path) -> None:
    root = project_in(tmp_path)
    listing = Answer(200, b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>")
    with serving(listing) as (script, port):
        async with projects_in(tmp_path / "state") as projects:
            await projects.open(root, by_key(port, "WRONGKEY"))

            project = await projects.open(root, by_key(port, "RIGHTKEY"))

            await project.worker.call(project.worker.store.check)
            assert "Credential=RIGHTKEY/" in script.asked[-1].headers["Authorization"]
            assert projects.all() == [project]


async def test_when_everything_was_in_the_store_last_is_told(tmp_path: Path) -> None:
    root = project_in(tmp_path)
    begin = time.time()
    async with projects_in(tmp_path / "state") as projects:
        project = await projects.open(root, StoreSettings(folder=FolderStore(path=str(tmp_path / "store"))))

        while not (told := project.describe()).HasField("last_sync_time"):
            await project.worker.changed(project.worker.version, 1.0)

    assert begin <= told.last_sync_time.ToNanoseconds() / 1e9 <= time.time()


async def test_the_same_store_by_the_same_keys_goes_on(tmp_path: Path) -> None:
    root = project_in(tmp_path)
    with serving(Answer(200)) as (_, port):
        async with projects_in(tmp_path / "state") as projects:
            first = await projects.open(root, by_key(port, "ANYKEY"))

            second = await projects.open(root, by_key(port, "ANYKEY"))

            assert second is first


async def test_a_store_that_is_silent_holds_up_neither_its_own_end_nor_another_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patience = s3_asking.Patience(tries=1000, first_pause_s=0.01, silence_s=1.0)
    monkeypatch.setattr(s3_asking, "Patience", lambda: patience)
    left = threading.Event()
    close = s3.S3Store.close

    def close_and_tell(store: s3.S3Store) -> None:
        close(store)
        left.set()

    monkeypatch.setattr(s3.S3Store, "close", close_and_tell)
    root, other = project_in(tmp_path), project_in(tmp_path, "other")
    (root / "cfs" / "data" / "large").write_bytes(random_bytes(17 * 1024 * 1024))
    folder = StoreSettings(folder=FolderStore(path=str(tmp_path / "folder")))
    with serving(Answer(200, silent_s=60)) as (script, port):
        async with projects_in(tmp_path / "state") as projects:
            silent = await projects.open(root, by_key(port, "ANYKEY"))
            await until(silent, lambda: bool(script.asked))

            async with asyncio.timeout(20), asyncio.TaskGroup() as group:
                moving = group.create_task(projects.open(root, folder))
                await until(silent, left.is_set)
                await projects.open(other, folder)
                first_to_come = moving.done()

            assert not first_to_come
            assert moving.result().store_id != silent.store_id


async def test_a_seal_under_way_is_finished_before_its_store_is_left(tmp_path: Path) -> None:
    root = project_in(tmp_path)
    folder = StoreSettings(folder=FolderStore(path=str(tmp_path / "folder")))
    # The first try fails, late enough for the project to be moved meanwhile; the next one is good.
    late = replace(refusal(503, "SlowDown"), silent_s=1.0)
    nothing = b"<ListBucketResult><KeyCount>0</KeyCount><IsTruncated>false</IsTruncated></ListBucketResult>"
    with serving(late, Answer(200, nothing)) as (script, port):
        async with projects_in(tmp_path / "state") as projects:
            left = await projects.open(root, by_key(port, "ANYKEY"))

            async with asyncio.TaskGroup() as group:
                sealing = group.create_task(left.worker.seal(RunSpec(), strict=False, git_commit=""))
                await until(left, lambda: bool(script.asked))
                await projects.open(root, folder)

    assert script.asked[-1].path.endswith(sealing.result().ref.key)
    assert [each.method for each in script.asked] == ["GET", "GET", "GET", "PUT"]
