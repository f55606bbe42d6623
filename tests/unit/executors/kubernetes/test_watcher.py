"""One list and one watch of each kind: what ends them, and what is known meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from pollinator.executors.kubernetes import watcher
from pollinator.executors.kubernetes.api import Api, Kind
from pollinator.executors.kubernetes.watcher import Watcher
from pollinator.wire.errors import OutOfRange, Unavailable

Object = dict[str, Any]


def pod(name: str, run: str = "x", version: int = 1, **about: Any) -> Object:
    metadata = {
        "name": name,
        "uid": name,
        "resourceVersion": str(version),
        "annotations": {"pollinator.io/run-id": run},
        **about,
    }
    return {"metadata": metadata, "status": {"phase": "Running"}}


class Scripted(Api):
    """An API of which each list and each watch is written down before; then it is silent."""

    def __init__(self) -> None:
        self.lists: dict[str, list[tuple[list[Object], str] | Exception]] = {"jobs": [([], "1")]}
        self.watches: dict[str, list[list[Object | Exception]]] = {}
        self.began: list[tuple[str, str]] = []

    async def all(self, kind: Kind) -> tuple[list[Object], str]:
        answer = self.lists[kind.name].pop(0)
        self.began.append((f"list {kind.name}", ""))
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def watch(self, kind: Kind, version: str) -> AsyncGenerator[Object]:
        self.began.append((f"watch {kind.name}", version))
        script = self.watches.get(kind.name, [])
        if not script:
            await asyncio.Event().wait()
        for each in script.pop(0):
            if isinstance(each, Exception):
                raise each
            yield each


Until = Callable[[Callable[[], Any]], Awaitable[None]]


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Scripted:
    monkeypatch.setattr(watcher, "FIRST_PAUSE_S", 0.01)
    return Scripted()


@pytest.fixture
async def watched(api: Scripted) -> AsyncIterator[Callable[[], Watcher]]:
    """Begins to watch, once the script is written."""
    tasks: list[asyncio.Task[Any]] = []
    async with asyncio.TaskGroup() as group:

        def begin() -> Watcher:
            made = Watcher(api, lambda run: run != "forgotten")
            tasks.append(group.create_task(made.run()))
            return made

        yield begin
        for each in tasks:
            each.cancel()


async def until(is_so: Callable[[], Any]) -> None:
    async with asyncio.timeout(20):
        while not is_so():  # noqa: ASYNC110 - whatever it is
            await asyncio.sleep(0.005)


async def test_what_is_listed_and_what_comes_is_known(api: Scripted, watched: Callable[[], Watcher]) -> None:
    api.lists["pods"] = [([pod("a")], "5")]
    api.watches["pods"] = [[{"type": "ADDED", "object": pod("b", version=6)}]]
    known = watched()
    await until(lambda: len(known.pods("x", 1)) == 2)

    assert known.knows
    assert ("watch pods", "5") in api.began


async def test_a_watch_that_ends_goes_on_where_it_was(api: Scripted, watched: Callable[[], Watcher]) -> None:
    bookmark = {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "9"}}}
    api.lists["pods"] = [([], "5")]
    api.watches["pods"] = [[bookmark], [{"type": "ADDED", "object": pod("a", version=10)}]]
    known = watched()
    await until(lambda: known.pods("x", 1))
    await until(lambda: ("watch pods", "10") in api.began)

    assert [("list pods", ""), ("watch pods", "5"), ("watch pods", "9"), ("watch pods", "10")] == [
        each for each in api.began if each[0].endswith("pods")
    ]


async def test_what_is_forgotten_is_listed_and_what_is_gone_is_missed(
    api: Scripted, watched: Callable[[], Watcher]
) -> None:
    gone = OutOfRange("too old", reason="kubernetes_expired")
    api.lists["pods"] = [([pod("a"), pod("b")], "5"), ([pod("b")], "50")]
    api.watches["pods"] = [[gone]]
    known = watched()
    await until(lambda: ("watch pods", "50") in api.began)

    assert [("a", True), ("b", False)] == sorted((each.name, each.gone) for each in known.pods("x", 1))
    known.forget("x")
    assert ["b"] == [each.name for each in known.pods("x", 1)]


async def test_a_pod_that_was_deleted_is_known_as_it_was_last(
    api: Scripted, watched: Callable[[], Watcher]
) -> None:
    api.lists["pods"] = [([pod("a")], "5")]
    api.watches["pods"] = [[{"type": "DELETED", "object": pod("a", version=6, deletionTimestamp="now")}]]
    known = watched()
    await until(lambda: any(each.gone for each in known.pods("x", 1)))

    assert [(True, True, True)] == [(each.gone, each.deleting, each.over) for each in known.pods("x", 1)]


async def test_what_goes_once_its_run_is_forgotten_is_not_kept(
    api: Scripted, watched: Callable[[], Watcher]
) -> None:
    api.lists["pods"] = [([pod("a", "forgotten"), pod("b")], "5")]
    api.watches["pods"] = [
        [{"type": "DELETED", "object": pod(name, run)} for name, run in (("a", "forgotten"), ("b", "x"))]
    ]
    api.lists["jobs"] = [([pod("j", "forgotten")], "5")]
    api.watches["jobs"] = [[{"type": "DELETED", "object": pod("j", "forgotten")}]]
    known = watched()
    await until(lambda: any(each.gone for each in known.pods("x", 1)))
    await until(lambda: not known.jobs())

    assert [] == known.pods("forgotten", 1)
    assert not known.is_gone("j", float("inf"))


async def test_an_api_that_does_not_answer_is_asked_again(
    api: Scripted, watched: Callable[[], Watcher]
) -> None:
    down = Unavailable("away", reason="kubernetes_down")
    api.lists["pods"] = [down, down, ([pod("a")], "5"), down, ([pod("a")], "6")]
    api.watches["pods"] = [[down], [{"type": "ADDED", "object": pod("b", version=7)}]]
    known = watched()
    await until(lambda: len(known.pods("x", 1)) == 2)
    await until(lambda: known.trouble is None)

    assert 5 == api.began.count(("list pods", ""))
    assert [("watch pods", "5"), ("watch pods", "6")] == [
        each for each in api.began if each[0] == "watch pods"
    ][:2]


async def test_it_does_not_answer_again_before_it_has_answered(
    api: Scripted, watched: Callable[[], Watcher]
) -> None:
    down = Unavailable("away", reason="kubernetes_down")
    api.lists["pods"] = [([pod("a")], "5"), *[down] * 5, ([pod("a")], "6")]
    api.watches["pods"] = [[down]] * 6
    known = watched()
    await until(lambda: known.trouble)
    since = known.trouble_since
    await until(lambda: len(api.lists["pods"]) <= 1)

    assert known.trouble
    assert since == known.trouble_since


async def test_one_that_forgets_at_once_is_not_asked_without_an_end(
    api: Scripted, watched: Callable[[], Watcher]
) -> None:
    api.lists["pods"] = [([], "5")] * 1000
    api.watches["pods"] = [[OutOfRange("too old", reason="kubernetes_expired")]] * 1000
    watched()
    await until(lambda: ("watch pods", "5") in api.began)
    await asyncio.sleep(0.1)

    assert api.began.count(("list pods", "")) < 50


async def test_a_job_is_gone_once_the_watch_says_so(api: Scripted, watched: Callable[[], Watcher]) -> None:
    api.lists["pods"] = [([], "1")]
    api.watches["jobs"] = [
        [{"type": "ADDED", "object": pod("j")}, {"type": "DELETED", "object": pod("j", version=2)}]
    ]
    known = watched()
    later = asyncio.get_running_loop().time() + 60
    await until(lambda: known.is_gone("j", later))
    # Whoever made it may hear of that last.
    known.made(pod("j"))

    assert known.job("j") is None
    known.forget("x")
    assert not known.is_gone("j", later)


async def test_a_job_is_gone_only_where_a_list_would_have_it(
    api: Scripted, watched: Callable[[], Watcher]
) -> None:
    api.lists["pods"] = [([], "1")]
    known = watched()
    await until(lambda: known.knows)
    known.made(pod("j"))
    later = asyncio.get_running_loop().time() + 60

    assert not known.is_gone("j", float("-inf"))
    assert known.is_gone("other", float("-inf"))
    assert not known.is_gone("other", later)
