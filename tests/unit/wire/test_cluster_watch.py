"""What is told of a cluster as it changes, and ports of its pods, over real sockets."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from pollinator.wire.cluster import Cluster
from pollinator.wire.errors import NeedsLogin, PollinatorError, Unavailable
from support.cluster_api import Api, echo, serving, streams
from support.kubeconfigs import line, program

PODS = "/api/v1/namespaces/runs/pods"


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with serving() as api:
        yield api


def event(name: str) -> dict[str, Any]:
    return {"type": "ADDED", "object": {"metadata": {"name": name}}}


async def watched(cluster: Cluster, idle_s: float = 20.0) -> list[str]:
    found = list[str]()
    async with aclosing(cluster.watch(PODS, query={"resourceVersion": "7"}, idle_s=idle_s)) as events:
        async for each in events:
            found.append(each["object"]["metadata"]["name"])
    return found


async def test_what_is_watched_comes_whole_however_it_is_cut(api: Api, tmp_path: Path) -> None:
    api.answers[f"GET {PODS}"] = streams(
        event("a"), b'{"type":"ADDED","object":{"metadata":', b'{"name":"b"}}}\n\n', event("c"), event("d")
    )
    async with line(tmp_path / "config", api.url, {"token": "t"}) as cluster:
        assert ["a", "b", "c", "d"] == await watched(cluster)
    assert [f"GET {PODS}?resourceVersion=7&watch=true"] == api.asked


async def test_a_watch_of_what_is_not_known_any_more_says_so(api: Api, tmp_path: Path) -> None:
    gone = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "message": "too old"}}
    api.answers[f"GET {PODS}"] = streams(event("a"), gone)
    async with line(tmp_path / "config", api.url, {"token": "t"}) as cluster:
        with pytest.raises(PollinatorError) as caught:
            await watched(cluster)
    assert "kubernetes_expired" == caught.value.reason


@pytest.mark.parametrize("code", ["x", None, [410]])
async def test_an_error_with_no_code_is_one_all_the_same(api: Api, tmp_path: Path, code: object) -> None:
    api.answers[f"GET {PODS}"] = streams({"type": "ERROR", "object": {"code": code, "message": "no"}})
    async with line(tmp_path / "config", api.url, {"token": "t"}) as cluster:
        with pytest.raises(Unavailable) as caught:
            await watched(cluster)
    assert "kubernetes_busy" == caught.value.reason


async def test_a_watch_that_is_silent_for_too_long_is_ended(api: Api, tmp_path: Path) -> None:
    async def silence(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await asyncio.sleep(600)
        return response

    api.answers[f"GET {PODS}"] = silence
    async with line(tmp_path / "config", api.url, {"token": "t"}) as cluster:
        with pytest.raises(Unavailable) as caught:
            await watched(cluster, 0.5)
    assert "kubernetes_silent" == caught.value.reason


async def test_a_watch_whose_line_is_cut_says_so(api: Api, tmp_path: Path) -> None:
    async def cut(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b'{"type":')
        assert request.transport is not None
        request.transport.abort()
        return response

    api.answers[f"GET {PODS}"] = cut
    async with line(tmp_path / "config", api.url, {"token": "t"}) as cluster:
        with pytest.raises(Unavailable) as caught:
            await watched(cluster)
    assert "kubernetes_down" == caught.value.reason


# Ports of pods


async def test_a_port_gives_back_what_it_gets(api: Api, tmp_path: Path) -> None:
    api.talk = echo
    sent = os.urandom(300_000)
    async with line(tmp_path / "config", api.url, {"token": "t"}, namespace="n") as cluster:
        forwarding = await cluster.forward("executor-0", 7443)
        await forwarding.write(sent)
        got = b""
        while len(got) < len(sent):
            got += await forwarding.read()
        await forwarding.close()

    assert sent == got
    assert ["GET /api/v1/namespaces/n/pods/executor-0/portforward?ports=7443"] == api.asked


async def test_a_port_that_nobody_listens_at_says_so(api: Api, tmp_path: Path) -> None:
    async def refuse(socket: web.WebSocketResponse) -> None:
        await socket.send_bytes(b"\1connection refused")

    api.talk = refuse
    async with line(tmp_path / "config", api.url, {"token": "t"}) as cluster:
        forwarding = await cluster.forward("p", 1)
        with pytest.raises(Unavailable, match="port 1 of pod p cannot be reached: connection refused"):
            await forwarding.read()
        await forwarding.close()


async def test_an_expired_token_is_renewed_for_a_port_as_well(api: Api, tmp_path: Path) -> None:
    api.talk, api.tokens = echo, {"t2"}
    user = program(
        tmp_path / "give", "give(token='t' + str(len((here / 'give.asked').read_text().splitlines())))"
    )
    async with line(tmp_path / "config", api.url, user) as cluster:
        forwarding = await cluster.forward("p", 1)
        await forwarding.close()
    assert 1 == api.refused


async def test_a_pod_that_is_not_there_says_so(api: Api, tmp_path: Path) -> None:
    api.tokens = {"other"}
    async with line(tmp_path / "config", api.url, {"token": "t"}) as cluster:
        with pytest.raises(NeedsLogin):
            await cluster.forward("p", 1)


@pytest.mark.parametrize(
    ("status", "reason", "words"),
    [
        (403, "kubernetes_denied", "get and create of pods/portforward"),
        (404, "kubernetes_missing", "no such pod"),
    ],
)
async def test_a_port_that_is_refused_is_told_with_what_it_takes(
    api: Api, tmp_path: Path, status: int, reason: str, words: str
) -> None:
    api.refusing = status
    async with line(tmp_path / "config", api.url, {"token": "t"}) as cluster:
        with pytest.raises(PollinatorError, match=words) as caught:
            await cluster.forward("p", 1)
    assert reason == caught.value.reason
