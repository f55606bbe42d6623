"""Asking registries what a tag means, and how much there is to fetch. Fetching is left to the engines."""

from __future__ import annotations

import base64
import hashlib
import http.client
import ipaddress
import json
import platform
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pollinator.executors.containers.credentials import Login, find_login
from pollinator.executors.containers.reference import HUB, Reference
from pollinator.wire.errors import Corrupt, Denied, NeedsLogin, NotFound, PollinatorError, Unavailable

ANSWER_S = 20.0
MOST_BYTES = 8 << 20
"""No manifest is longer."""

_LISTS = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_SINGLE = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a registry said."""

    body: bytes
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Layer:
    """One part of an image."""

    digest: str
    size: int
    """As it is transferred, which is compressed as a rule."""


class _KeepToYourself(urllib.request.HTTPRedirectHandler):
    """Registries send clients to other hosts, to whom no password is shown."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> urllib.request.Request | None:
        """The next request, without what was for the first host alone."""
        request = super().redirect_request(*args, **kwargs)
        if request is not None:
            request.headers.pop("Authorization", None)
        return request


class Registry:
    """One repository in a registry, asked with the user's credentials."""

    def __init__(self, reference: Reference, login: Login | None = None) -> None:
        self._reference = reference
        self._login = login
        self._authorization = ""
        host = "registry-1.docker.io" if reference.registry == HUB else reference.registry
        scheme = "http" if is_loopback(reference.registry) else "https"
        self._base = f"{scheme}://{host}/v2/{reference.repository}"
        self._opener = urllib.request.build_opener(_KeepToYourself())

    def digest(self) -> str:
        """What the image's tag means now.

        Raises:
            PollinatorError: it is not there, may not be seen, or nobody answers.
        """
        if self._reference.digest:
            return self._reference.digest
        answer = self._manifest(self._reference.tag, "HEAD")
        if _DIGEST.fullmatch(told := answer.headers.get("docker-content-digest", "")):
            return told
        body = self._manifest(self._reference.tag, "GET").body
        return f"sha256:{hashlib.sha256(body).hexdigest()}"

    def layers(self, digest: str) -> list[Layer]:
        """What there is to fetch for this machine.

        Raises:
            PollinatorError: as for ``digest``; or there is nothing for this machine.
        """
        manifest = self._read(digest)
        if "manifests" in manifest:
            manifest = self._read(self._for_this_machine(manifest["manifests"]))
        try:
            return [Layer(str(each["digest"]), int(each["size"])) for each in manifest["layers"]]
        except (KeyError, TypeError, ValueError) as error:
            raise self._garbled() from error

    def _for_this_machine(self, manifests: list[dict[str, Any]]) -> str:
        wanted = _MACHINES.get(platform.machine(), platform.machine())
        there: list[str] = []
        for each in manifests:
            about: dict[str, Any] = each.get("platform") or {}
            if about.get("os") == "linux" and about.get("architecture") == wanted:
                return str(each["digest"])
            there.append(str(about.get("architecture", "")))
        others = ", ".join(sorted({each for each in there if each and each != "unknown"})) or "nothing"
        raise NotFound(
            f"{self._reference.text} is not there for {wanted}, but for {others}",
            reason="image_missing",
            hint="take another image, or an executor whose machines it is for",
        )

    def _read(self, digest: str) -> dict[str, Any]:
        body = self._manifest(digest, "GET").body
        if f"sha256:{hashlib.sha256(body).hexdigest()}" != digest:
            raise Corrupt(f"{self._base} did not send {digest}", reason="image_damaged")
        try:
            manifest: dict[str, Any] = json.loads(body)
        except ValueError as error:
            raise self._garbled() from error
        return manifest

    def _manifest(self, name: str, method: str) -> Answer:
        return self._ask(method, f"{self._base}/manifests/{name}", {"Accept": ", ".join((*_LISTS, *_SINGLE))})

    def _ask(self, method: str, url: str, headers: Mapping[str, str]) -> Answer:
        """Ask; when the registry wants to know who asks, tell it and ask again."""
        own = {"Authorization": self._authorization} if self._authorization else {}
        try:
            return self._send(_request(url, method, headers={**headers, **own}))
        except urllib.error.HTTPError as error:
            wanted = error.headers.get("WWW-Authenticate", "")
            if error.code != 401 or own or not wanted:
                raise self._refused(error) from error
        self._authorization = self._authorized(wanted)
        return self._ask(method, url, headers)

    def _authorized(self, wanted: str) -> str:
        kind, _, rest = wanted.partition(" ")
        if kind.lower() == "basic":
            if self._login is None:
                raise self._needs_login("asks for a password")
            return _basic(self._login)
        parameters: dict[str, str] = dict(_PARAMETER.findall(rest))
        realm = parameters.pop("realm", "")
        if kind.lower() != "bearer" or not realm.startswith(("https://", "http://")):
            raise self._garbled()
        if realm.startswith("http://") and not is_loopback(urllib.parse.urlsplit(realm).netloc):
            raise Denied(
                f"{self._reference.registry} wants the password sent without TLS to {realm}",
                reason="image_denied",
            )
        try:
            said = json.loads(self._send(self._token_request(realm, parameters)).body)
            return f"Bearer {said.get('token') or said['access_token']}"
        except urllib.error.HTTPError as error:
            raise self._refused(error) from error
        except (ValueError, KeyError) as error:
            raise self._garbled() from error

    def _token_request(self, realm: str, parameters: dict[str, str]) -> urllib.request.Request:
        parameters.setdefault("scope", f"repository:{self._reference.repository}:pull")
        if self._login is not None and self._login.token:
            form = {**parameters, "grant_type": "refresh_token", "refresh_token": self._login.token}
            form["client_id"] = "pollinator"
            return _request(realm, "POST", data=urllib.parse.urlencode(form).encode())
        url = f"{realm}?{urllib.parse.urlencode(parameters)}"
        headers = {"Authorization": _basic(self._login)} if self._login is not None else {}
        return _request(url, "GET", headers=headers)

    def _send(self, request: urllib.request.Request) -> Answer:
        try:
            with self._opener.open(request, timeout=ANSWER_S) as reply:
                headers = {name.lower(): value for name, value in reply.headers.items()}
                return Answer(reply.read(MOST_BYTES), headers)
        except urllib.error.HTTPError as error:
            # It is an open answer as well.
            error.close()
            raise
        except (OSError, http.client.HTTPException) as error:
            why = getattr(error, "reason", None) or error
            # Without its number, which is for programs.
            why = getattr(why, "strerror", None) or why
            raise Unavailable(
                f"the registry {self._reference.registry} does not answer: {why}",
                reason="registry_unreachable",
                hint="name an image that is a file (oci-archive:PATH), or remove environment.docker",
            ) from error

    def _refused(self, error: urllib.error.HTTPError) -> PollinatorError:
        text = self._reference.text
        if error.code == 404:
            return NotFound(
                f"there is no image {text}", reason="image_missing", hint="look at its name and tag"
            )
        if error.code in (401, 403):
            return self._needs_login("does not let us see it" if self._login else "asks who we are")
        if error.code == 429 or error.code >= 500:
            return Unavailable(
                f"the registry {self._reference.registry} is busy: HTTP {error.code}",
                reason="registry_unreachable",
                hint="many registries allow more to users who have logged in",
            )
        return Denied(f"{text}: the registry answers with HTTP {error.code}", reason="image_denied")

    def _needs_login(self, why: str) -> NeedsLogin:
        registry = self._reference.registry
        return NeedsLogin(
            f"{self._reference.text}: the registry {registry} {why}, or has no such image",
            reason="image_denied",
            hint=f"log in where the run is: docker login {registry}, or podman login {registry}",
        )

    def _garbled(self) -> Unavailable:
        registry = self._reference.registry
        return Unavailable(
            f"what {registry} answers is not what a registry answers", reason="registry_unreachable"
        )


def open_registry(reference: Reference) -> Registry:
    """The registry of an image, with what is known of who may ask."""
    return Registry(reference, find_login(reference.registry, reference.repository))


def is_loopback(registry: str) -> bool:
    """This host, with its port, is this machine: no TLS is needed, as for Docker."""
    host = registry.rpartition(":")[0] if registry.rpartition(":")[2].isdecimal() else registry
    host = host.strip("[]")
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _request(
    url: str, method: str, *, headers: Mapping[str, str] | None = None, data: bytes | None = None
) -> urllib.request.Request:
    # Never a file: what is asked was made here, and where a token is had was looked at.
    return urllib.request.Request(url, data, dict(headers or {}), method=method)  # noqa: S310 - see above


def _basic(login: Login) -> str:
    return "Basic " + base64.b64encode(f"{login.user}:{login.password}".encode()).decode()
