"""Which cluster is meant, who one is there, and what is said of files that cannot be meant."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Any

import pytest

from pollinator.wire.errors import InvalidInput, NeedsLogin
from pollinator.wire.kubeconfig import (
    ROTATED_S,
    config_files,
    credentials_of,
    credentials_of_pod,
    expiry_of,
    find_context,
    is_in_pod,
)
from support.kubeconfigs import CONTEXT, written

SERVER = "https://lab.example.org:6443"
SECRET = "the-secret-of-this-test"


def jwt(until: float) -> str:
    parts = [json.dumps(each).encode() for each in ({"alg": "none"}, {"exp": until})]
    return ".".join([*(base64.urlsafe_b64encode(each).decode().rstrip("=") for each in parts), "sig"])


def credentials(path: Path, user: dict[str, Any], cluster: dict[str, Any] | None = None) -> Any:
    return credentials_of(find_context([written(path, SERVER, user, cluster)], ""))


def test_the_files_are_those_that_are_named_or_those_of_the_variable_or_kubectls_own() -> None:
    environ = {"HOME": "/home/ada"}

    assert [Path("/home/ada/.kube/config")] == config_files("", environ)
    assert [Path("/a"), Path("/b")] == config_files("", environ | {"KUBECONFIG": "/a::/b"})
    assert [Path("/c")] == config_files("/c", environ | {"KUBECONFIG": "/a:/b"})


def test_of_several_files_the_first_that_says_something_counts(tmp_path: Path) -> None:
    first = written(tmp_path / "a" / "config", "https://a", {"token": "a"}, context="one")
    second = written(tmp_path / "b" / "config", "https://b", {"token": "b"}, context="two")
    again = written(tmp_path / "c" / "config", "https://c", {"token": "c"}, context="one")
    files = [tmp_path / "missing", first, second, again]

    assert ("one", "https://a") == (find_context(files, "").name, find_context(files, "").cluster["server"])
    assert "https://b" == find_context(files, "two").cluster["server"]
    assert "https://a" == find_context(files, "one").cluster["server"]


def test_a_context_may_take_its_cluster_and_its_user_from_other_files(tmp_path: Path) -> None:
    cluster, user, context = tmp_path / "x/cluster", tmp_path / "y/user", tmp_path / "context"
    for path in (cluster, user):
        path.parent.mkdir()
    cluster.write_text("clusters: [{name: c, cluster: {server: 'https://c', certificate-authority: ca.pem}}]")
    user.write_text("users: [{name: u, user: {tokenFile: token}}]")
    context.write_text("contexts: [{name: k, context: {cluster: c, user: u}}]")
    (tmp_path / "x/ca.pem").write_text("CERTIFICATE")
    (tmp_path / "y/token").write_text("tok\n")

    found = credentials_of(find_context([context, cluster, user], "k"))

    assert ("https://c", "CERTIFICATE", "Bearer tok", "default") == (
        found.server,
        found.authority,
        found.authorization,
        found.namespace,
    )


def test_who_names_no_context_that_exists_is_told_which_do(tmp_path: Path) -> None:
    path = written(tmp_path / "config", SERVER, {})

    with pytest.raises(InvalidInput) as caught:
        find_context([path], "elsewhere")

    assert "context_missing" == caught.value.reason
    assert "'elsewhere'" in caught.value.message
    assert f"contexts are: {CONTEXT}" == caught.value.hint


def test_without_any_file_that_is_said(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no context is named, and none is the current one") as caught:
        find_context([tmp_path / "config"], "")

    assert str(tmp_path / "config") in caught.value.message


@pytest.mark.parametrize(
    ("user", "header"),
    [
        ({"token": "t"}, "Bearer t"),
        ({"username": "ada", "password": "pw"}, "Basic YWRhOnB3"),
        ({"token": "t", "username": "ada"}, "Bearer t"),
        ({}, ""),
    ],
)
def test_who_one_is(tmp_path: Path, user: dict[str, str], header: str) -> None:
    found = credentials(tmp_path / "config", user)

    assert (header, float("inf")) == (found.authorization, found.until)


def test_a_token_that_no_header_can_have_is_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="has a token with a line's end") as caught:
        credentials(tmp_path / "config", {"token": "secret\n"})

    assert "secret" not in str(caught.value)


def test_a_token_in_a_file_is_read_again_after_a_while(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t1")

    found = credentials(tmp_path / "config", {"tokenFile": "token", "token": "old"})

    assert "Bearer t1" == found.authorization
    assert found.until <= time.time() + ROTATED_S


def test_certificates_and_all_else_of_a_cluster(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"KEY")
    user = {"client-certificate-data": base64.b64encode(b"CERT").decode(), "client-key": "key"}
    cluster = {
        "certificate-authority-data": base64.b64encode(b"CA").decode(),
        "tls-server-name": "kubernetes",
        "proxy-url": "http://proxy:3128",
        "insecure-skip-tls-verify": True,
    }

    found = credentials(tmp_path / "config", user, cluster)

    assert (b"CERT", b"KEY", "CA") == (found.certificate, found.key, found.authority)
    assert ("kubernetes", "http://proxy:3128", False) == (found.server_name, found.proxy, found.verify)


def test_what_a_program_says_counts_until_it_says(tmp_path: Path) -> None:
    context = find_context([written(tmp_path / "config", SERVER, {"exec": {"command": "x"}})], "")

    token = credentials_of(context, {"token": "t", "expirationTimestamp": "2026-01-02T03:04:05Z"})
    pair = credentials_of(context, {"clientCertificateData": "CERT", "clientKeyData": "KEY"})

    assert ("Bearer t", 1767323045.0) == (token.authorization, token.until)
    assert ("", b"CERT", b"KEY") == (pair.authorization, pair.certificate, pair.key)


def test_a_token_that_kubectl_has_got_is_used_as_long_as_it_is_good(tmp_path: Path) -> None:
    def user(token: str) -> dict[str, Any]:
        return {"auth-provider": {"name": "oidc", "config": {"id-token": token, "refresh-token": SECRET}}}

    good, old = jwt(time.time() + 100), jwt(time.time() - 100)

    assert f"Bearer {good}" == credentials(tmp_path / "config", user(good)).authorization
    with pytest.raises(NeedsLogin) as caught:
        credentials(tmp_path / "config", user(old))
    assert ("kubernetes_login", f"kubectl --context {CONTEXT} version") == (
        caught.value.reason,
        caught.value.hint,
    )


def test_the_command_to_log_in_names_files_that_kubectl_would_not_look_at(tmp_path: Path) -> None:
    path = written(tmp_path / "my config", SERVER, {}, context="a b")

    context = find_context([path], "a b", str(path))

    assert f"kubectl --kubeconfig '{path}' --context 'a b' version" == context.login


KNOWN = "contexts: [{name: k, context: {cluster: c, user: u}}]\n"
CLUSTER = "clusters: [{name: c, cluster: {server: 'https://x'}}]\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", "it is no YAML in line"),
        ("just words", "it holds no clusters"),
        ("contexts: {}x", "it is no YAML"),
        ("a: 2026-13-45", "it is no YAML"),
        ("a: " + "[" * 5000, "it is no YAML"),
        ("contexts: [a, b]", "contexts is not a list of names"),
        ("contexts: [{name: k, context: {user: u}}]", "context k has no cluster"),
        ("contexts: [{name: k, context: {cluster: c}}]", "there is no cluster 'c'"),
        (f"{KNOWN}clusters: [{{name: c, cluster: {{}}}}]\nusers: [{{name: u}}]", "has no server"),
        (f"{KNOWN}{CLUSTER}", "there is no user 'u'"),
        (f"{KNOWN}{CLUSTER}users: [{{name: u, user: {{as: root}}}}]", "is to act as another"),
        (
            f"{KNOWN}{CLUSTER}users: [{{name: u, user: {{client-key: nofile}}}}]",
            "nofile cannot be used: client-key cannot be read: No such file or directory",
        ),
        (
            f"{KNOWN}{CLUSTER}users: [{{name: u, user: {{client-certificate-data: Q0VSVA==}}}}]",
            "has a certificate or a key, but not both",
        ),
        (
            f"{KNOWN}{CLUSTER}users: [{{name: u, user: {{client-key-data: '%'}}}}]",
            "client-key-data of the user of context k is not base64",
        ),
    ],
)
def test_files_that_cannot_be_meant(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)

    with pytest.raises(InvalidInput) as caught:
        credentials_of(find_context([path], "k"))

    assert words in caught.value.message


def test_names_of_files_that_no_system_takes(tmp_path: Path) -> None:
    path = written(tmp_path / "config", SERVER, {})

    assert [Path("~nobody-of-this-name/config")] == config_files("~nobody-of-this-name/config", {})
    assert CONTEXT == find_context([path / "below", tmp_path / "missing", path], "").name
    with pytest.raises(InvalidInput) as caught:
        find_context([tmp_path / ("a" * 300)], "")
    assert "File name too long" in caught.value.message


def test_nothing_secret_is_told(tmp_path: Path) -> None:
    path = written(tmp_path / "config", SERVER, {"token": SECRET, "client-key-data": SECRET})
    context = find_context([path], "")
    told = [repr(context)]
    with pytest.raises(InvalidInput) as caught:
        credentials_of(context)
    told += [str(caught.value), repr(caught.value.__cause__)]
    told.append(
        repr(credentials(tmp_path / "config", {"token": SECRET}, {"proxy-url": f"http://u:{SECRET}@p"}))
    )
    (tmp_path / "bad").write_text(f"token: {SECRET}: {{")
    with pytest.raises(InvalidInput) as caught:
        find_context([tmp_path / "bad"], "")
    told += [str(caught.value), caught.value.hint, repr(caught.value.__cause__)]

    assert SECRET not in "\n".join(told)


def test_the_account_of_a_pod(tmp_path: Path) -> None:
    environ = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}

    for name, text in (("token", "t\n"), ("ca.crt", "CA"), ("namespace", "runs")):
        (tmp_path / name).write_text(text)
    found = credentials_of_pod(environ, tmp_path)

    assert is_in_pod(environ)
    assert not is_in_pod({})
    assert ("https://[fd00::1]:443", "Bearer t", "runs", "CA") == (
        found.server,
        found.authorization,
        found.namespace,
        found.authority,
    )
    assert found.until <= time.time() + ROTATED_S


def test_a_pod_without_an_account_says_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(NeedsLogin) as caught:
        credentials_of_pod({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, tmp_path)

    assert "automountServiceAccountToken" in caught.value.hint


def test_when_a_token_ends() -> None:
    assert 1000.0 == expiry_of(jwt(1000))
    assert [float("inf")] * 3 == [expiry_of(each) for each in ("opaque", "a.b.c", "a.e30.c")]
