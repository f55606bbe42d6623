"""Limited credentials are asked for once, and a store that is slow to issue them holds up nobody else."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from pollinator.chunks import s3_limited
from pollinator.chunks.blobs import PeerStore
from pollinator.chunks.s3_limited import Limited
from pollinator.daemon.link import ExecutorLink
from pollinator.daemon.pool import Pool
from pollinator.daemon.runs.bridge import Bridge
from pollinator.daemon.runs.colonies import ColonyKeeper
from pollinator.daemon.runs.home import ResultsHome
from pollinator.daemon.sync.stores import StoreKeeper
from pollinator.v1.run_pb2 import Run
from pollinator.v1.store_pb2 import S3Store, StoreSettings

LIMITED = "get limited credentials for its store"


class TokenServices:
    """Issues credentials at once, except for those of the slow endpoint."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.slow_answers = threading.Event()

    def limited(self, settings: S3Store, place: str) -> Limited:
        self.asked.append(f"{settings.bucket}/{place}")
        if "slow" in settings.endpoint:
            assert self.slow_answers.wait(60)
        return Limited(settings, time.time() + 3600)


@pytest.fixture
def services(monkeypatch: pytest.MonkeyPatch) -> TokenServices:
    services = TokenServices()
    monkeypatch.setattr(s3_limited, "limited", services.limited)
    return services


def store(keeper: StoreKeeper, host: str) -> str:
    """A bucket; returns the id of the store."""
    settings = S3Store(endpoint=f"https://{host}.example.org", bucket=host, access_key="a", secret_key="b")
    store_id, opened = keeper.open(StoreSettings(s3=settings), "p")
    opened.close()
    return store_id


@asynccontextmanager
async def bridge(folder: Path, keeper: StoreKeeper) -> AsyncGenerator[Bridge]:
    pool = Pool("test", 1)
    home = ResultsHome(keeper, folder / "ledgers", folder / "cache", pool)
    async with asyncio.TaskGroup() as group:
        made = Bridge(
            keeper,
            ColonyKeeper(folder / "colonies"),
            home,
            folder / "far",
            group,
            lambda run_id, progress: None,
        )
        yield made
        await made.close()
    pool.close()


async def test_a_store_that_is_slow_holds_up_no_other_however_many_runs_wait_for_it(
    tmp_path: Path, services: TokenServices
) -> None:
    keeper = StoreKeeper(tmp_path / "stores")
    slow, quick = store(keeper, "slow"), store(keeper, "quick")
    async with bridge(tmp_path, keeper) as made, asyncio.TaskGroup() as group:
        waiting = [group.create_task(made.check(slow, f"p{n}")) for n in range(10)]
        try:
            async with asyncio.timeout(20):
                while not services.asked:  # noqa: ASYNC110 - told in a thread
                    await asyncio.sleep(0.001)
                found = await made.check(quick, "p")
            waited = [task.done() for task in waiting]
        finally:
            services.slow_answers.set()

    assert LIMITED in found.detail
    assert [False] * 10 == waited
    assert all(LIMITED in task.result().detail for task in waiting)


async def test_what_several_runs_need_at_once_is_issued_once(tmp_path: Path, services: TokenServices) -> None:
    keeper = StoreKeeper(tmp_path / "stores")
    quick = store(keeper, "quick")
    async with bridge(tmp_path, keeper) as made:
        await asyncio.gather(*(made.check(quick, "p") for _ in range(5)))

    assert ["quick/pollinator/p"] == services.asked


class Bridged(Exception):
    """Files are about to be sent to the executor."""


def issues(issued: Limited | None) -> Callable[[S3Store, str], Limited | None]:
    """A server that issues this to whoever asks."""

    def limited(settings: S3Store, place: str) -> Limited | None:
        return issued

    return limited


def link_to(*, trusted: bool) -> ExecutorLink:
    """An executor whose runs are elsewhere."""

    def blobs(project: str) -> PeerStore:
        raise Bridged

    transport, place = SimpleNamespace(trusted=trusted), SimpleNamespace(mark="lab")
    return cast("ExecutorLink", SimpleNamespace(near=False, transport=transport, place=place, blobs=blobs))


async def test_where_nothing_limited_is_issued_only_who_is_trusted_has_the_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_limited, "limited", issues(None))
    keeper = StoreKeeper(tmp_path / "stores")
    run = Run(id="r", project="p", store_id=store(keeper, "quick"))
    async with bridge(tmp_path, keeper) as made:
        given = await made.source(run, link_to(trusted=True), lambda: False)
        with pytest.raises(Bridged):
            await made.source(run, link_to(trusted=False), lambda: False)

    assert "b" == given.store.s3.secret_key


async def test_what_is_issued_is_preferred_to_the_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = Limited(S3Store(bucket="quick", secret_key="few"), time.time() + 3600)
    monkeypatch.setattr(s3_limited, "limited", issues(few))
    keeper = StoreKeeper(tmp_path / "stores")
    run = Run(id="r", project="p", store_id=store(keeper, "quick"))
    async with bridge(tmp_path, keeper) as made:
        given = await made.source(run, link_to(trusted=True), lambda: False)

    assert "few" == given.store.s3.secret_key
