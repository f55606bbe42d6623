"""How registries are asked: tokens, passwords, images for several machines, and answers that are none."""

from __future__ import annotations

import hashlib
import json
import platform
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from pollinator.executors.containers.credentials import Login
from pollinator.executors.containers.reference import parse_reference
from pollinator.executors.containers.registry import Registry, is_loopback
from pollinator.wire.errors import Corrupt, Denied, NeedsLogin, NotFound, PollinatorError, Unavailable

HERE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
LAYERS = [{"digest": "sha256:" + "1" * 64, "size": 100}, {"digest": "sha256:" + "2" * 64, "size": 23}]


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


MANIFEST = json.dumps({"schemaVersion": 2, "layers": LAYERS}).encode()
OTHER = json.dumps({"schemaVersion": 2, "layers": []}).encode()


def index(*machines: str) -> bytes:
    """One for several machines, of which this one has MANIFEST."""
    entries = [
        {
            "digest": digest_of(MANIFEST if machine == HERE else OTHER),
            "platform": {"os": "linux", "architecture": machine},
        }
        for machine in machines
    ]
    return json.dumps({"schemaVersion": 2, "manifests": entries}).encode()


@dataclass
class Site:
    """A registry that answers as it is told, and where its tokens are had."""

    wants: str = ""
    """How it asks who is there: ``basic``, ``bearer``, another word, or nothing."""
    login: str = "Basic YWRhOng="
    manifests: dict[str, bytes] = field(default_factory=dict[str, bytes])
    tells_digest: bool = True
    status: int = 200
    asked: list[tuple[str, str, str]] = field(default_factory=list[tuple[str, str, str]])
    """Method, path and authorization."""

    def __post_init__(self) -> None:
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.host = f"127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def registry(self, login: Login | None = None, name: str = "some/image:1") -> Registry:
        return Registry(parse_reference(f"{self.host}/{name}"), login)

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def answer(self, method: str, path: str, authorization: str, body: bytes) -> tuple[int, Any, bytes]:
        self.asked.append((method, path, authorization))
        if path.startswith("/token"):
            return self._token(path, authorization, body)
        if self.status != 200:
            return self.status, {}, b""
        if self.wants and authorization not in (self.login, "Bearer good"):
            asks = {
                "basic": 'Basic realm="x"',
                "bearer": f'Bearer realm="http://{self.host}/token",service="s",scope="repository:a:pull"',
            }
            return 401, {"WWW-Authenticate": asks.get(self.wants, self.wants)}, b""
        content = self.manifests.get(path.rpartition("/")[2])
        if content is None:
            return 404, {}, b""
        return 200, {"Docker-Content-Digest": digest_of(content)} if self.tells_digest else {}, content

    def _token(self, path: str, authorization: str, body: bytes) -> tuple[int, Any, bytes]:
        given = parse_qs(body.decode() or urlsplit(path).query)
        if given["service"] != ["s"] or given["scope"] != ["repository:a:pull"]:
            return 400, {}, b""
        if authorization == self.login or given.get("refresh_token") == ["t"]:
            return 200, {}, b'{"token": "good"}'
        return 401, {}, b""


def _handler(site: Site) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            authorization = self.headers.get("Authorization", "")
            status, headers, content = site.answer(self.command, self.path, authorization, body)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_HEAD = do_POST = do  # noqa: N815 - the names that are called

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that is called
            return

    return Handler


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site(manifests={"1": MANIFEST, digest_of(MANIFEST): MANIFEST})
    try:
        yield made
    finally:
        made.stop()


def test_a_tag_is_resolved_with_one_small_request(site: Site) -> None:
    assert digest_of(MANIFEST) == site.registry().digest()
    assert [("HEAD", "/v2/some/image/manifests/1", "")] == site.asked


def test_a_registry_that_does_not_tell_the_digest_is_asked_for_all(site: Site) -> None:
    site.tells_digest = False

    assert digest_of(MANIFEST) == site.registry().digest()


def test_a_digest_is_not_asked_for(site: Site) -> None:
    name = f"some/image@{digest_of(MANIFEST)}"

    assert digest_of(MANIFEST) == site.registry(name=name).digest()
    assert [] == site.asked


def test_the_layers_say_how_much_there_is_to_fetch(site: Site) -> None:
    layers = site.registry().layers(digest_of(MANIFEST))

    assert [(each["digest"], each["size"]) for each in LAYERS] == [
        (each.digest, each.size) for each in layers
    ]


def test_of_several_machines_this_one_is_taken(site: Site) -> None:
    several = index("s390x", HERE, "riscv64")
    site.manifests["1"] = site.manifests[digest_of(several)] = several
    registry = site.registry()

    assert digest_of(several) == registry.digest()
    assert [100, 23] == [each.size for each in registry.layers(registry.digest())]


def test_an_image_that_is_for_other_machines_is_named_with_them(site: Site) -> None:
    several = index("s390x", "riscv64")
    site.manifests[digest_of(several)] = several
    with pytest.raises(NotFound) as caught:
        site.registry().layers(digest_of(several))

    assert "riscv64, s390x" in caught.value.message


def test_what_was_not_asked_for_is_not_taken(site: Site) -> None:
    site.manifests[digest_of(MANIFEST)] = OTHER
    with pytest.raises(Corrupt):
        site.registry().layers(digest_of(MANIFEST))


# Who asks


@pytest.mark.parametrize("wants", ["basic", "bearer"])
def test_a_password_is_given_when_it_is_asked_for(site: Site, wants: str) -> None:
    site.wants = wants
    registry = site.registry(Login("ada", "x"))

    assert digest_of(MANIFEST) == registry.digest()
    first = site.asked[0]
    assert "" == first[2]
    registry.layers(digest_of(MANIFEST))
    assert site.asked[-1][2].startswith(wants.capitalize())


def test_a_token_is_had_for_a_token(site: Site) -> None:
    site.wants = "bearer"

    assert digest_of(MANIFEST) == site.registry(Login(token="t")).digest()


@pytest.mark.parametrize("wants", ["basic", "bearer"])
@pytest.mark.parametrize("login", [None, Login("ada", "wrong")])
def test_without_the_right_password_that_is_said(site: Site, wants: str, login: Login | None) -> None:
    site.wants = wants
    with pytest.raises(NeedsLogin) as caught:
        site.registry(login).digest()

    assert "image_denied" == caught.value.reason
    assert f"docker login {site.host}" in caught.value.hint
    assert "wrong" not in str(caught.value)


def test_a_password_is_not_sent_over_the_network_without_tls(site: Site) -> None:
    site.wants = 'Bearer realm="http://tokens.example/token",service="s"'
    with pytest.raises(Denied) as caught:
        site.registry(Login("ada", "x")).digest()

    assert "tokens.example" in caught.value.message


# Other answers


@pytest.mark.parametrize(
    ("status", "kind", "reason"),
    [
        (403, NeedsLogin, "image_denied"),
        (404, NotFound, "image_missing"),
        (418, Denied, "image_denied"),
        (429, Unavailable, "registry_unreachable"),
        (503, Unavailable, "registry_unreachable"),
    ],
)
def test_what_it_refuses_with_is_told(
    site: Site, status: int, kind: type[PollinatorError], reason: str
) -> None:
    site.status = status
    with pytest.raises(kind) as caught:
        site.registry().digest()

    assert reason == caught.value.reason


@pytest.mark.parametrize("wants", ["Negotiate", 'Bearer realm="file:///etc/passwd"'])
def test_a_registry_that_asks_for_something_else_is_none(site: Site, wants: str) -> None:
    site.wants = wants
    with pytest.raises(Unavailable):
        site.registry().digest()


@pytest.mark.parametrize("content", [b"<html>", b"{}", b'{"layers": 3}', b'{"layers": [{"size": "x"}]}'])
def test_what_is_no_manifest_is_told(site: Site, content: bytes) -> None:
    site.manifests[digest_of(content)] = content
    with pytest.raises(Unavailable):
        site.registry().layers(digest_of(content))


def test_nobody_who_answers_is_told() -> None:
    with pytest.raises(Unavailable) as caught:
        Registry(parse_reference("127.0.0.1:1/some/image:1")).digest()

    assert "127.0.0.1:1" in caught.value.message


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("localhost:5000", True),
        ("127.0.0.1:5000", True),
        ("127.3.2.1", True),
        ("[::1]:5000", True),
        ("10.0.0.1:5000", False),
        ("ghcr.io", False),
        ("localhost.example.org", False),
        ("127.0.0.1.example.org", False),
    ],
)
def test_this_machine_is_spoken_to_without_tls(host: str, *, expected: bool) -> None:
    assert expected is is_loopback(host)
