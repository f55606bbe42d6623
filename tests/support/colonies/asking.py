"""Questions to a Colonies server, written out by hand: our own client has no part in them."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import secrets
from dataclasses import dataclass, field
from typing import Any

from coincurve import PrivateKey

DEADLINE_S = 30.0


@dataclass(frozen=True)
class Member:
    """Somebody with a key: its text, and the identity that follows from it."""

    name: str
    key: str = field(repr=False)

    @property
    def identity(self) -> str:
        public = PrivateKey(bytes.fromhex(self.key)).public_key.format(compressed=False)
        return hashlib.sha3_256(public.hex().encode()).hexdigest()

    def sign(self, payload: str) -> str:
        digest = hashlib.sha3_256(payload.encode()).digest()
        key = PrivateKey(bytes.fromhex(self.key))
        return key.sign_recoverable(digest, hasher=None).hex()  # pyright: ignore[reportUnknownMemberType] # its nonce


def stranger(name: str = "stranger") -> Member:
    """Somebody with a new key, whom no server knows."""
    return Member(name, secrets.token_hex(32))


@dataclass(frozen=True)
class Said:
    """An answer."""

    status: int
    content: Any
    """Of its payload."""
    kind: str = ""
    """Its payload type."""

    @property
    def refusal(self) -> tuple[int, str]:
        """Status and text of a refusal; fails for anything else."""
        assert self.kind == "error", self
        assert self.content["status"] == self.status
        return self.status, self.content["message"]

    @property
    def granted(self) -> Any:
        """The payload of what was no refusal; fails for a refusal."""
        assert self.status == 200, self
        return self.content


@dataclass(frozen=True)
class Line:
    """The way to one server."""

    host: str
    port: int

    def ask(self, member: Member, kind: str, /, **fields: Any) -> Said:
        """Ask as a member."""
        return self.send(envelope(member, kind, fields))

    def send(self, body: str | bytes, path: str = "/api", method: str = "POST") -> Said:
        """Send these bytes."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=DEADLINE_S)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        if not text:
            return Said(answer.status, None)
        # Some refusals are sent twice, one behind the other.
        outer, _ = json.JSONDecoder().raw_decode(text.decode())
        return Said(answer.status, json.loads(base64.b64decode(outer["payload"])), outer["payloadtype"])


def envelope(member: Member, kind: str, fields: dict[str, Any], **outer: Any) -> str:
    """A signed message; with parts of the outer one replaced."""
    text = json.dumps({"msgtype": kind, **fields})
    payload = base64.b64encode(text.encode()).decode()
    return json.dumps({"payloadtype": kind, "payload": payload, "signature": member.sign(payload), **outer})
