"""Questions to an API server, asked by hand: of the double and of a real one in the same way."""

from __future__ import annotations

import base64
import json
import ssl
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from support.kubernetes.kinds import BUILT_IN, KUEUE, Kind, is_list

_CALL_S = 20.0
_LASTS_S = 120.0
_KINDS = {each.plural: each for each in (*BUILT_IN, *KUEUE)}
_JSON, _MERGE = "application/json-patch+json", "application/merge-patch+json"


@dataclass(frozen=True)
class Said:
    """An answer."""

    code: int
    body: Any

    @property
    def granted(self) -> Any:
        """What was asked for; fails where it is refused."""
        assert self.code < 300, self.body
        return self.body

    @property
    def reason(self) -> str:
        """Why it is refused, in a word."""
        return str(self.body.get("reason", ""))

    @property
    def message(self) -> str:
        """The same in words."""
        return str(self.body.get("message", ""))


class Line:
    """The way to the server that a file names.

    Args:
        kubeconfig: the file; its current context is what counts.
    """

    def __init__(self, kubeconfig: Path) -> None:
        read = yaml.safe_load(kubeconfig.read_text())
        context = _named(read["contexts"], read["current-context"])["context"]
        cluster = _named(read["clusters"], context["cluster"])["cluster"]
        user = _named(read["users"], context["user"])["user"]
        self.server: str = cluster["server"]
        self.read: Any = read
        tls = ssl.create_default_context()
        if "certificate-authority-data" in cluster:
            tls = ssl.create_default_context(cadata=_decoded(cluster["certificate-authority-data"]).decode())
        elif "certificate-authority" in cluster:
            tls = ssl.create_default_context(cafile=cluster["certificate-authority"])
        if "client-certificate-data" in user:
            with tempfile.NamedTemporaryFile() as pair:
                pair.write(
                    _decoded(user["client-certificate-data"]) + b"\n" + _decoded(user["client-key-data"])
                )
                pair.flush()
                tls.load_cert_chain(pair.name)
        elif "client-certificate" in user:
            tls.load_cert_chain(user["client-certificate"], user["client-key"])
        self._headers = {"Authorization": f"Bearer {user['token']}"} if "token" in user else {}
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=tls)
        )

    def ask(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> Said:
        """Ask; what is answered that is no JSON is text."""
        data = None if body is None else json.dumps(body).encode()
        headers = {**self._headers, "Content-Type": content_type, "Accept": "application/json"}
        request = urllib.request.Request(f"{self.server}{path}", data=data, headers=headers, method=method)
        try:
            with self._opener.open(request, timeout=_CALL_S) as answer:
                return Said(answer.status, _read(answer.read()))
        except urllib.error.HTTPError as refused:
            with refused:
                return Said(refused.code, _read(refused.read()))

    def lines(self, path: str) -> Iterator[bytes]:
        """What an answer that lasts says, line by line."""
        request = urllib.request.Request(f"{self.server}{path}", headers=self._headers)
        with self._opener.open(request, timeout=_LASTS_S) as answer:
            yield from answer

    def create(self, obj: Any, namespace: str = "") -> Said:
        """Create an object."""
        kind = next(
            each
            for each in _KINDS.values()
            if each.name == obj["kind"] and each.api_version == obj["apiVersion"]
        )
        return self.ask("POST", path_of(kind.plural, namespace), obj)

    def patch(self, plural: str, namespace: str, name: str, patch: Any, how: str = "") -> Said:
        """Change an object, by a merge patch or by a JSON patch unless ``how`` says."""
        return self.ask(
            "PATCH",
            path_of(plural, namespace, name),
            patch,
            how or (_JSON if is_list(patch) else _MERGE),
        )


def path_of(plural: str, namespace: str = "", name: str = "", sub: str = "", **query: Any) -> str:
    """Where objects of a kind are, or one of them."""
    kind: Kind = _KINDS[plural]
    parts = [f"/apis/{kind.group}" if kind.group else "/api", kind.version]
    parts += ["namespaces", namespace] if kind.namespaced and namespace else []
    parts += [each for each in (plural, name, sub) if each]
    return "/".join(parts) + (f"?{urllib.parse.urlencode(query)}" if query else "")


def _named(rows: Any, name: str) -> Any:
    return next(each for each in rows if each["name"] == name)


def _decoded(text: str) -> bytes:
    return base64.b64decode(text)


def _read(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return data.decode("utf-8", "replace")
