"""Executors that are reached through the API of a cluster: found, believed, and found again after a cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from integration.test_tls import Peer, served

from pollinator.daemon.reach import kube as kube_module
from pollinator.daemon.reach.kube import Kube, context_and_namespace
from pollinator.daemon.reach.transport import NotLoggedIn, Place, silent
from pollinator.wire.certificates import Pair, make_pair
from pollinator.wire.errors import InvalidInput, PollinatorError
from pollinator.wire.places import runtime_dir
from support.cluster_api import Api, gives, leads_to, serving
from support.kubeconfigs import program, written

PODS = "GET /api/v1/namespaces/runs/pods"
LABELS = {"app.kubernetes.io/name": "pollinator-executor", "app.kubernetes.io/instance": "hall"}

NONSENSE = "does not answer as a Kubernetes server does"
GARBLED: list[tuple[object, str]] = [
    ([], NONSENSE),
    ({}, NONSENSE),
    ("pods", NONSENSE),
    ({"items": [{"metadata": "x", "status": {"phase": "Running"}}]}, NONSENSE),
    ({"items": [{"metadata": {}}]}, NONSENSE),
    # So the server writes a list that is empty.
    ({"items": None}, "there is no pod with"),
    ({"items": [{"metadata": {"name": "p", "labels": 1}, "status": []}]}, "pod p does not run: Unknown"),
]


def pod(name: str = "hall-0", phase: str = "Running", *, ready: bool = True, **about: Any) -> dict[str, Any]:
    conditions = [{"type": "Ready", "status": "True" if ready else "False", "message": "not yet"}]
    ports = [{"name": "metrics", "containerPort": 1}, {"name": "executor", "containerPort": 8443}]
    return {
        "metadata": {"name": name, "labels": LABELS, "creationTimestamp": "2026-01-01T00:00:00Z", **about},
        "spec": {"containers": [{"name": "executor", "ports": ports}]},
        "status": {"phase": phase, "conditions": conditions},
    }


def has(api: Api, *pods: dict[str, Any]) -> None:
    """The namespace has these pods, by label."""
    listed = gives({"items": list(pods)})

    async def answer(request: web.Request) -> web.StreamResponse:
        assert "app.kubernetes.io/name=pollinator-executor" == request.query["labelSelector"]
        return await listed(request)

    api.answers[PODS] = answer


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with serving() as api:
        yield api


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return make_pair(tmp_path / "pair", "hall", ["hall"])


def place(pair: Pair, config: Path, **more: str) -> Place:
    side = pair.client
    settings = {
        "tls.certificate": str(side.certificate),
        "tls.key": str(side.key),
        "tls.authority": str(side.authority),
        "kube.config": str(config),
    }
    return Place("hall", "", "kube://lab/runs", {**settings, **more}, "1")


@asynccontextmanager
async def way(pair: Pair, config: Path, **more: str) -> AsyncGenerator[tuple[Kube, Peer]]:
    transport = Kube(place(pair, config, **more))
    peer = Peer(transport)
    try:
        yield transport, peer
    finally:
        await peer.channel.close()
        await transport.close()


async def refusal(transport: Kube, peer: Peer) -> PollinatorError:
    transport.hurry()
    with pytest.raises(PollinatorError) as caught:
        await transport.ensure(peer, silent)
    return caught.value


async def test_an_executor_is_found_by_its_label_and_asked_at_its_port(
    api: Api, pair: Pair, tmp_path: Path
) -> None:
    steps = list[str]()
    async with served(pair.server) as port:
        has(api, pod("old", ready=False), pod(), pod("gone", deletionTimestamp="2026-01-01T00:00:00Z"))
        api.talk = leads_to(port)
        async with way(pair, written(tmp_path / "config", api.url, {"token": "t"})) as (transport, peer):
            await transport.ensure(peer, steps.append)
            found = await peer.ask()

    assert found is not None
    assert "hall" == found.kind
    assert "GET /api/v1/namespaces/runs/pods/hall-0/portforward?ports=8443" in api.asked
    assert "looking for its pod in context lab" in steps


async def test_another_pod_is_found_when_the_one_before_is_gone(api: Api, pair: Pair, tmp_path: Path) -> None:
    async with (
        served(pair.server) as port,
        way(pair, written(tmp_path / "config", api.url, {"token": "t"})) as (transport, peer),
    ):
        has(api, pod())
        api.talk = leads_to(port)
        await transport.ensure(peer, silent)
        has(api, pod("hall-1"))
        # With the pod its connections end.
        await asyncio.gather(*(each.close() for each in set(api.sockets)))

        transport.hurry()
        await transport.ensure(peer, silent)

    assert any("hall-1/portforward" in each for each in api.asked)


async def test_a_server_that_was_away_is_asked_again(pair: Pair, tmp_path: Path) -> None:
    config = tmp_path / "config"
    async with served(pair.server) as port, way(pair, config) as (transport, peer):
        async with serving() as api:
            has(api, pod())
            api.talk = leads_to(port)
            written(config, api.url, {"token": "t"})
            await transport.ensure(peer, silent)
            await asyncio.gather(*(each.close() for each in set(api.sockets)))
        assert "kubernetes_down" == (await refusal(transport, peer)).reason

        async with serving(port=int(api.url.rpartition(":")[2])) as again:
            has(again, pod())
            again.talk = leads_to(port)
            transport.hurry()
            await transport.ensure(peer, silent)
            assert await peer.ask() is not None


async def test_who_may_forward_ports_but_has_no_certificate_runs_nothing(
    api: Api, pair: Pair, tmp_path: Path
) -> None:
    other = make_pair(tmp_path / "other", "hall", ["hall"])
    async with served(pair.server) as port:
        has(api, pod())
        api.talk = leads_to(port)
        async with way(other, written(tmp_path / "config", api.url, {"token": "t"})) as (transport, peer):
            error = await refusal(transport, peer)

    assert "certificate_foreign" == error.reason
    assert isinstance(error, NotLoggedIn)
    assert "pollinator executors certificate hall --replace" == error.fix


async def test_a_certificate_is_for_the_executors_name_or_the_one_that_is_set(
    api: Api, tmp_path: Path
) -> None:
    pair = make_pair(tmp_path / "pair", "hall", ["elsewhere"])
    config = written(tmp_path / "config", api.url, {"token": "t"})
    async with served(pair.server) as port:
        has(api, pod())
        api.talk = leads_to(port)
        async with way(pair, config) as (transport, peer):
            assert "certificate_host" == (await refusal(transport, peer)).reason
            transport.configure(place(pair, config, **{"kube.host": "elsewhere"}))
            await transport.ensure(peer, silent)


async def test_a_login_that_is_needed_is_told_once_and_is_one_command(
    api: Api, pair: Pair, tmp_path: Path
) -> None:
    user = program(tmp_path / "give", "give(token='t') if (here / 'ok').exists() else sys.exit('log in')")
    config = written(tmp_path / "config", api.url, user)
    async with served(pair.server) as port, way(pair, config) as (transport, peer):
        has(api, pod())
        api.talk = leads_to(port)
        error = await refusal(transport, peer)
        assert isinstance(error, NotLoggedIn)
        assert ("kubernetes_login", "pollinator executors login hall") == (error.reason, error.fix)
        with pytest.raises(NotLoggedIn):
            await transport.ensure(peer, silent)
        assert 1 == len((tmp_path / "give.asked").read_text().splitlines())
        # What the command line runs in the user's terminal, where it asks.
        process = await asyncio.create_subprocess_exec(*transport.login(), stderr=asyncio.subprocess.DEVNULL)
        assert 1 == await process.wait()
        (tmp_path / "ok").touch()
        process = await asyncio.create_subprocess_exec(*transport.login(), stdout=asyncio.subprocess.PIPE)
        shown, _ = await process.communicate()
        assert b"" == shown

        transport.hurry()
        await transport.ensure(peer, silent)


async def test_without_a_program_that_logs_in_kubectl_is_named(api: Api, pair: Pair, tmp_path: Path) -> None:
    api.tokens = {"other"}
    config = written(tmp_path / "config", api.url, {"token": "old"})
    async with way(pair, config) as (transport, peer):
        error = await refusal(transport, peer)

    assert isinstance(error, NotLoggedIn)
    assert f"kubectl --kubeconfig {config} --context lab version" == error.fix
    assert [] == transport.login()


@pytest.mark.parametrize(
    ("pods", "reason", "words"),
    [
        (
            [],
            "executor_down",
            "there is no pod with app.kubernetes.io/name=pollinator-executor in namespace runs",
        ),
        ([pod(deletionTimestamp="x")], "executor_down", "but one that is just ending"),
        ([pod(phase="Pending", ready=False)], "executor_down", "hall-0 does not run: not yet"),
        ([pod(), pod(labels={**LABELS, "app.kubernetes.io/instance": "b"})], "executor_ambiguous", "b, hall"),
    ],
)
async def test_what_is_said_of_pods_that_cannot_be_used(
    api: Api, pair: Pair, tmp_path: Path, pods: list[dict[str, Any]], reason: str, words: str
) -> None:
    has(api, *pods)
    async with way(pair, written(tmp_path / "config", api.url, {"token": "t"})) as (transport, peer):
        error = await refusal(transport, peer)

    assert reason == error.reason
    assert words in error.message


async def test_an_image_that_cannot_be_had_is_told_in_the_clusters_words(
    api: Api, pair: Pair, tmp_path: Path
) -> None:
    waiting = pod(phase="Pending", ready=False)
    state = {"waiting": {"reason": "ImagePullBackOff", "message": "no such tag"}}
    waiting["status"]["containerStatuses"] = [{"name": "executor", "state": state}]
    has(api, waiting)
    async with way(pair, written(tmp_path / "config", api.url, {"token": "t"})) as (transport, peer):
        error = await refusal(transport, peer)

    assert "does not run: ImagePullBackOff no such tag" in error.message
    assert "kubectl --namespace runs describe pod hall-0" == error.hint


async def test_a_pod_that_is_just_starting_is_told_as_one(api: Api, pair: Pair, tmp_path: Path) -> None:
    starting = pod(phase="Pending", ready=False)
    state = {"waiting": {"reason": "PodInitializing"}}
    starting["status"]["containerStatuses"] = [{"name": "executor", "state": state}]
    has(api, starting)
    async with way(pair, written(tmp_path / "config", api.url, {"token": "t"})) as (transport, peer):
        error = await refusal(transport, peer)

    assert "does not run: PodInitializing" in error.message
    assert error.hint.startswith("it is just starting: pollinator executors connect")


async def test_a_pod_in_which_nobody_listens_is_told(api: Api, pair: Pair, tmp_path: Path) -> None:
    async def refuse(socket: web.WebSocketResponse) -> None:
        await socket.send_bytes(b"\1connection refused")
        await socket.receive()

    has(api, pod())
    api.talk = refuse
    async with way(pair, written(tmp_path / "config", api.url, {"token": "t"})) as (transport, peer):
        error = await refusal(transport, peer)

    assert "port 8443 of pod hall-0 cannot be reached: connection refused" in error.message


@pytest.mark.parametrize(("listed", "words"), GARBLED)
async def test_answers_that_make_no_sense_are_told(
    api: Api, pair: Pair, tmp_path: Path, listed: object, words: str
) -> None:
    api.answers[PODS] = gives(listed)
    async with way(pair, written(tmp_path / "config", api.url, {"token": "t"})) as (transport, peer):
        assert words in (await refusal(transport, peer)).message


async def test_a_port_that_is_no_number_is_the_usual_one(api: Api, pair: Pair, tmp_path: Path) -> None:
    odd = pod()
    odd["spec"]["containers"][0]["ports"] = [{"name": "executor"}, {"name": "executor", "containerPort": "x"}]
    async with served(pair.server) as port:
        has(api, odd)
        api.talk = leads_to(port)
        async with way(pair, written(tmp_path / "config", api.url, {"token": "t"})) as (transport, peer):
            await transport.ensure(peer, silent)

    assert any("portforward?ports=7443" in each for each in api.asked)


async def test_what_failed_is_not_tried_again_at_once(
    api: Api, pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kube_module, "RETRY_S", (600.0, 600.0))
    has(api)
    async with way(pair, written(tmp_path / "config", api.url, {"token": "t"})) as (transport, peer):
        await refusal(transport, peer)
        for _ in range(5):
            with pytest.raises(PollinatorError):
                await transport.ensure(peer, silent)

    assert 1 == len(api.asked)


async def test_sockets_are_the_users_alone_and_go_with_the_executor(
    api: Api, pair: Pair, tmp_path: Path
) -> None:
    async with served(pair.server) as port:
        has(api, pod())
        api.talk = leads_to(port)
        async with way(pair, written(tmp_path / "config", api.url, {"token": "t"})) as (transport, peer):
            await transport.ensure(peer, silent)
            sockets = list(runtime_dir().glob("kube-*.sock"))
            assert [0o600] == [each.stat().st_mode & 0o777 for each in sockets]
    assert [] == list(runtime_dir().glob("kube-*.sock"))


@pytest.mark.parametrize(
    ("address", "context", "namespace"),
    [
        ("kube://lab/runs", "lab", "runs"),
        ("kube://lab", "lab", ""),
        ("kube://lab/", "lab", ""),
        ("kube://arn:aws:eks:eu-north-1:1:cluster/lab/runs", "arn:aws:eks:eu-north-1:1:cluster/lab", "runs"),
        ("kube://ns/api.example.org:6443/kube:admin/runs", "ns/api.example.org:6443/kube:admin", "runs"),
        ("kube://a b@c/runs", "a b@c", "runs"),
    ],
)
def test_addresses(address: str, context: str, namespace: str) -> None:
    assert (context, namespace) == context_and_namespace(address)


@pytest.mark.parametrize("address", ["kube://", "kube:///runs", "kube://lab/No_Namespace", "kube://lab/ü"])
def test_addresses_that_cannot_be_meant(address: str) -> None:
    with pytest.raises(InvalidInput, match="names no place in a cluster"):
        context_and_namespace(address)


@pytest.mark.parametrize(
    "settings", [{"kube.nonsense": "x"}, {"kube.config": "relative"}, {"tls.nonsense": "x"}]
)
def test_settings_that_cannot_be_meant(settings: dict[str, str]) -> None:
    with pytest.raises(InvalidInput):
        Kube(Place("hall", "", "kube://lab/runs", settings, "1"))
