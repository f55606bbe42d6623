"""Calls of a cluster over real sockets: who asks, what is renewed and how often, and what goes wrong."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from pollinator.wire import cluster as cluster_module
from pollinator.wire import cluster_login
from pollinator.wire.certificates import Pair, make_pair
from pollinator.wire.cluster import Cluster, Where
from pollinator.wire.errors import InvalidInput, NeedsLogin, PollinatorError
from support.cluster_api import Api, echo, gives, in_pod, said, serving, streams
from support.kubeconfigs import asked, line, program

PODS = "/api/v1/namespaces/runs/pods"


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return make_pair(tmp_path / "pair", "api", ["kubernetes"])


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with serving() as api:
        api.answers[f"GET {PODS}"] = gives({"items": []})
        yield api


@pytest.fixture
def renewed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials are renewed long before they end, and again as soon as that failed."""
    monkeypatch.setattr(cluster_login, "AGAIN_S", 0.0)
    monkeypatch.setattr(cluster_login, "PART", 0.0)


async def refusal(cluster: Cluster, path: str = PODS, timeout_s: float = 20.0) -> PollinatorError:
    with pytest.raises(PollinatorError) as caught:
        await cluster.request("GET", path, timeout_s=timeout_s)
    return caught.value


async def test_what_is_asked_and_answered(api: Api, tmp_path: Path) -> None:
    async def made(request: web.Request) -> web.Response:
        return web.json_response({"kind": request.content_type, "got": await request.json()}, status=201)

    api.answers["PATCH /apis/x"] = made
    async with line(tmp_path / "config", api.url, {"token": "t"}) as cluster:
        found = await cluster.request(
            "PATCH",
            "/apis/x",
            query={"dryRun": "All", "force": True, "limit": 3},
            body={"a": [1, "ü"]},
            content_type="application/merge-patch+json",
        )

        assert {"kind": "application/merge-patch+json", "got": {"a": [1, "ü"]}} == found
        assert ["PATCH /apis/x?dryRun=All&force=true&limit=3"] == api.asked
        assert {"pollinator"} == api.agents
        assert ("runs", api.url) == (cluster.namespace, cluster.server)


async def test_nothing_is_read_or_asked_before_it_is_needed(api: Api, tmp_path: Path) -> None:
    async with line(tmp_path / "config", api.url, {"token": "t"}, namespace="mine") as cluster:
        (tmp_path / "config").unlink()

        assert "mine" == cluster.namespace
        with pytest.raises(InvalidInput, match="there is no context 'lab'"):
            await cluster.open()
    assert [] == api.asked


# Who asks


async def test_certificates_on_both_sides_and_another_name_than_the_address(
    pair: Pair, tmp_path: Path
) -> None:
    user = {"client-certificate": str(pair.client.certificate), "client-key": str(pair.client.key)}
    about = {"certificate-authority": str(pair.client.authority), "tls-server-name": "kubernetes"}
    async with serving(pair, wants_certificate=True) as api:
        api.answers[f"GET {PODS}"] = gives({"items": []})
        api.talk = echo
        async with line(tmp_path / "config", api.url, user, about) as cluster:
            assert {"items": []} == await cluster.request("GET", PODS)
            forwarding = await cluster.forward("p", 7443)
            await forwarding.write(b"hello")
            assert b"hello" == await forwarding.read()
            await forwarding.close()


async def test_authorities_may_be_named_in_any_letters(pair: Pair, tmp_path: Path) -> None:
    authority = tmp_path / "authority.pem"
    authority.write_text(f"# Főtanúsítvány\n{pair.client.authority.read_text()}", "utf-8")
    about = {"certificate-authority": str(authority), "tls-server-name": "kubernetes"}
    async with serving(pair) as api:
        api.answers[f"GET {PODS}"] = gives({"items": []})
        async with line(tmp_path / "config", api.url, {"token": "t"}, about) as cluster:
            assert {"items": []} == await cluster.request("GET", PODS)


async def test_files_that_nobody_can_look_for_are_said() -> None:
    cluster = Cluster(Where(), {"KUBECONFIG": f"/{'a' * 300}"})
    assert "bad_kubeconfig" == (await refusal(cluster)).reason
    await cluster.close()


async def test_a_server_of_another_authority_or_name_is_not_asked(pair: Pair, tmp_path: Path) -> None:
    other = make_pair(tmp_path / "other", "api", ["kubernetes"])
    async with serving(pair) as api:
        for authority, name in ((other.client.authority, "kubernetes"), (pair.client.authority, "elsewhere")):
            about = {"certificate-authority": str(authority), "tls-server-name": name}
            async with line(tmp_path / "config", api.url, {"token": "t"}, about) as cluster:
                assert "kubernetes_tls" == (await refusal(cluster)).reason
        assert [] == api.asked


async def test_a_certificate_that_a_program_gives_is_used_and_kept_in_no_file(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    certificate, key = pair.client.certificate.read_text(), pair.client.key.read_text()
    user = program(tmp_path / "give", f"give(clientCertificateData={certificate!r}, clientKeyData={key!r})")
    about = {"certificate-authority": str(pair.client.authority), "tls-server-name": "kubernetes"}
    async with serving(pair, wants_certificate=True) as api:
        api.answers[f"GET {PODS}"] = gives({"items": []})
        async with line(tmp_path / "config", api.url, user, about) as cluster:
            assert {"items": []} == await cluster.request("GET", PODS)

    assert [] == os.listdir(tmp_path / "tmp")


async def test_a_certificate_waits_for_room_for_it(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = {"client-certificate": str(pair.client.certificate), "client-key": str(pair.client.key)}
    about = {"certificate-authority": str(pair.client.authority), "tls-server-name": "kubernetes"}
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    async with serving(pair, wants_certificate=True) as api:
        api.answers[f"GET {PODS}"] = gives({"items": []})
        async with line(tmp_path / "config", api.url, user, about) as cluster:
            error = await refusal(cluster)
            (tmp_path / "tmp").mkdir()
            assert {"items": []} == await cluster.request("GET", PODS)

    assert ("kubernetes_down", True) == (error.reason, error.retryable)
    assert "cannot be written down: No such file or directory" in error.message


async def test_many_calls_that_meet_an_expired_token_renew_it_once(api: Api, tmp_path: Path) -> None:
    user = program(tmp_path / "give", "give(token=(here / 'token').read_text())")
    (tmp_path / "token").write_text("old")
    async with line(tmp_path / "config", api.url, user) as cluster:
        await cluster.request("GET", PODS)
        (tmp_path / "token").write_text("new")
        api.tokens = {"new"}

        found = await asyncio.gather(*(cluster.request("GET", PODS) for _ in range(50)))

    assert [{"items": []}] * 50 == found
    assert 2 == len(asked(tmp_path / "give"))


async def test_many_calls_for_whom_there_is_no_token_ask_for_it_once(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_login, "AGAIN_S", 600.0)
    user = program(tmp_path / "give", "sys.exit('log in first')")
    async with line(tmp_path / "config", api.url, user) as cluster:
        calls = [cluster.request("GET", PODS) for _ in range(50)]
        found = await asyncio.gather(*calls, return_exceptions=True)
        again = await refusal(cluster)

        assert {"kubernetes_login"} == {getattr(each, "reason", "") for each in (*found, again)}
        assert 1 == len(asked(tmp_path / "give"))
        assert "log in first" in again.message
        user["exec"]["command"] = "true"
        program(tmp_path / "give", "give(token='t')")
        cluster.hurry()
        assert {"items": []} == await cluster.request("GET", PODS)


async def test_a_token_that_is_refused_even_when_it_is_new_is_not_asked_for_again_and_again(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_login, "AGAIN_S", 600.0)
    api.tokens = {"good"}
    user = program(tmp_path / "give", "give(token='bad')")
    async with line(tmp_path / "config", api.url, user) as cluster:
        for _ in range(5):
            error = await refusal(cluster)
            assert isinstance(error, NeedsLogin)
            assert f"kubectl --kubeconfig {tmp_path / 'config'} --context lab version" == error.hint
            assert "bad" not in error.message

    assert 2 == len(asked(tmp_path / "give"))


async def test_a_program_that_hangs_holds_nothing_else_up_and_is_told(api: Api, tmp_path: Path) -> None:
    user = program(tmp_path / "give", "time.sleep(600)")
    async with line(tmp_path / "config", api.url, user, plugin_s=1.0) as cluster:
        error = await refusal(cluster)

        assert "gave no answer for 1 s" in error.message
    assert [] == api.asked


async def test_a_call_that_is_given_up_while_a_program_runs_takes_nobody_else_with_it(
    api: Api, tmp_path: Path
) -> None:
    user = program(tmp_path / "give", "time.sleep(1.0); give(token='t')")
    async with line(tmp_path / "config", api.url, user) as cluster:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await cluster.request("GET", PODS)

        assert {"items": []} == await cluster.request("GET", PODS)


@pytest.mark.usefixtures("renewed_at_once")
async def test_a_token_is_renewed_before_it_ends_and_used_on_where_that_fails(
    api: Api, tmp_path: Path
) -> None:
    text = """
until = time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(time.time() + 600))
count = len((here / 'give.asked').read_text().splitlines())
give(token=f't{count}', expirationTimestamp=until) if count < 3 else sys.exit('no more')
"""
    user = program(tmp_path / "give", text)
    shown: list[str] = []

    async def note(request: web.Request) -> web.Response:
        shown.append(request.headers["Authorization"])
        return web.json_response({"items": []})

    api.answers[f"GET {PODS}"] = note
    async with line(tmp_path / "config", api.url, user) as cluster, asyncio.timeout(60):
        while len(asked(tmp_path / "give")) < 5:
            await cluster.request("GET", PODS)
    assert ["Bearer t1", "Bearer t2"] == sorted(set(shown))
    assert sorted(shown) == shown


@pytest.mark.usefixtures("renewed_at_once")
async def test_a_program_that_hangs_holds_nobody_up_as_long_as_the_token_before_is_good(
    api: Api, tmp_path: Path
) -> None:
    text = """
until = time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(time.time() + 600))
if len((here / 'give.asked').read_text().splitlines()) == 1:
    give(token='t', expirationTimestamp=until)
else:
    (here / 'new').write_text(str(os.getpid()))
    (here / 'new').rename(here / 'pid')
    time.sleep(600)
"""
    user = program(tmp_path / "give", text)
    async with line(tmp_path / "config", api.url, user) as cluster, asyncio.timeout(30):
        for _ in range(20):
            assert {"items": []} == await cluster.request("GET", PODS)
        while not (tmp_path / "pid").exists():
            assert {"items": []} == await cluster.request("GET", PODS)

    assert 2 == len(asked(tmp_path / "give"))
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


async def test_a_token_that_has_expired_is_not_used_while_its_program_hangs(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_login, "AGAIN_S", 0.0)
    user = program(tmp_path / "give", "give(token='t', expirationTimestamp='2026-01-01T00:00:00Z')")
    async with line(tmp_path / "config", api.url, user, plugin_s=5.0) as cluster:
        assert {"items": []} == await cluster.request("GET", PODS)
        program(tmp_path / "give", "time.sleep(600)")
        assert "gave no answer for 5 s" in (await refusal(cluster)).message


async def test_the_account_of_a_pod_whose_token_is_replaced(api: Api, tmp_path: Path) -> None:
    environ = in_pod(tmp_path / "account", api, "one")
    # A server of a cluster has TLS; this one is spoken to as it can.
    async with serving(make_pair(tmp_path / "pair", "api", ["127.0.0.1"])) as secured:
        secured.answers[f"GET {PODS}"] = gives({"items": []})
        authority = (tmp_path / "pair/client/authority.pem").read_text()
        environ = in_pod(tmp_path / "account", secured, "one", authority) | {"HOME": str(tmp_path)}
        cluster = Cluster(Where(), environ, tmp_path / "account")
        try:
            secured.tokens = {"one"}
            await cluster.request("GET", PODS)
            assert "of-the-pod" == cluster.namespace
            (tmp_path / "account/token").write_text("two")
            secured.tokens = {"two"}

            assert {"items": []} == await cluster.request("GET", PODS)
            assert 1 == secured.refused
        finally:
            await cluster.close()


# What goes wrong


@pytest.mark.parametrize(
    ("status", "about", "reason"),
    [
        (403, {"message": "pods is forbidden"}, "kubernetes_denied"),
        (403, {"message": 'pods "x" is forbidden: exceeded quota: q, requested: cpu=4'}, "kubernetes_quota"),
        (404, {"message": "no such pod"}, "kubernetes_missing"),
        (409, {"message": "there", "reason": "AlreadyExists"}, "kubernetes_exists"),
        (409, {"message": "changed", "reason": "Conflict"}, "kubernetes_conflict"),
        (410, {"message": "too old"}, "kubernetes_expired"),
        (422, {"message": "Job is invalid"}, "kubernetes_refused"),
        (429, {"message": "slowly"}, "kubernetes_busy"),
        (500, {"message": "etcd"}, "kubernetes_busy"),
    ],
)
async def test_refusals_are_told_apart_and_quoted(
    api: Api, tmp_path: Path, status: int, about: dict[str, str], reason: str
) -> None:
    async def refuse(request: web.Request) -> web.Response:
        return said(status, **about)

    api.answers[f"GET {PODS}"] = refuse
    async with line(tmp_path / "config", api.url, {"token": "t"}) as cluster:
        error = await refusal(cluster)

    assert reason == error.reason
    assert about["message"] in error.message
    assert (status in (429, 500)) == error.retryable


async def test_nobody_there(tmp_path: Path, unused_tcp_port: int) -> None:
    async with line(tmp_path / "config", f"http://127.0.0.1:{unused_tcp_port}", {"token": "t"}) as cluster:
        error = await refusal(cluster)

    assert ("kubernetes_down", True) == (error.reason, error.retryable)
    assert f"http://127.0.0.1:{unused_tcp_port} cannot be reached: Connection refused" == error.message


async def test_a_server_that_says_nothing_is_not_waited_for_longer_than_asked(
    api: Api, tmp_path: Path
) -> None:
    async def silence(request: web.Request) -> web.Response:
        await asyncio.sleep(600)
        raise AssertionError

    api.answers[f"GET {PODS}"] = silence
    async with line(tmp_path / "config", api.url, {"token": "t"}) as cluster:
        error = await refusal(cluster, timeout_s=0.5)

    assert ("kubernetes_silent", True) == (error.reason, error.retryable)


async def test_what_is_no_kubernetes_server(api: Api, tmp_path: Path) -> None:
    async def page(request: web.Request) -> web.Response:
        return web.Response(text="<html>hello</html>")

    api.answers[f"GET {PODS}"] = page
    async with line(tmp_path / "config", api.url, {"token": "t"}) as cluster:
        assert "kubernetes_garbled" == (await refusal(cluster)).reason
    async with line(tmp_path / "config", "not a url", {"token": "t"}) as cluster:
        assert "bad_kubeconfig" == (await refusal(cluster)).reason


async def test_answers_without_end_are_cut(api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_module, "MOST_BYTES", 1000)
    api.answers[f"GET {PODS}"] = gives({"items": "x" * 2000})
    api.answers["GET /log"] = streams(b"x" * 5000)
    async with line(tmp_path / "config", api.url, {"token": "t"}) as cluster:
        assert "kubernetes_garbled" == (await refusal(cluster)).reason
        assert "x" * 100 == await cluster.text("/log", most=100)
