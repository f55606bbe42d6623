"""Calls of a Colonies server: signed messages over one connection that is kept, and what its refusals mean.

The only module that imports aiohttp.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import random
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self

import aiohttp

from pollinator.executors.colonies.identity import Key
from pollinator.v1.colony_pb2 import Colony
from pollinator.wire.errors import (
    AlreadyExists,
    Denied,
    InvalidInput,
    NotFound,
    PollinatorError,
    TimedOut,
    Unavailable,
)

CALL_S = 20.0
CONNECT_S = 10.0
TRIES = 4
"""Of a call that may be repeated."""
FIRST_PAUSE_S = 0.1
CONNECTIONS = 16
MAX_REPLY_BYTES = 256 * 1024 * 1024
_TLS_HINT = (
    "set COLONIES_TLS=false if the server has no TLS, or COLONIES_CA_BUNDLE to who signed its certificate"
)


class Unanswered(Unavailable):
    """The server may have done what it was asked, or not: its answer was lost."""


class Rpc:
    """A line to one server, as one member. Belongs to one event loop."""

    def __init__(self, colony: Colony) -> None:
        self._key = Key(colony.private_key)
        self._colony = colony
        scheme = "https" if colony.tls else "http"
        self._url = f"{scheme}://{colony.host}:{colony.port}"
        self._ssl = _context(colony)
        self._session: aiohttp.ClientSession | None = None

    @property
    def identity(self) -> str:
        """Who asks."""
        return self._key.identity

    @property
    def server(self) -> str:
        """Which server this is, for people."""
        return f"{self._colony.host}:{self._colony.port}"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def call(
        self, kind: str, fields: Mapping[str, Any], *, timeout_s: float = CALL_S, repeat: bool = False
    ) -> Any:
        """Ask, and return the payload of the answer: what JSON holds, None where the server sends nothing.

        Args:
            kind: type of the message.
            fields: the rest of it.
            timeout_s: so long the answer may take.
            repeat: asking again is harmless: it is done a few times when there is no answer.

        Raises:
            Unanswered: the call may have had its effect.
            Unavailable: it has had none.
            PollinatorError: it was refused.
        """
        pause_s = FIRST_PAUSE_S
        for left in reversed(range(TRIES if repeat else 1)):
            try:
                return await self._once(kind, fields, timeout_s)
            except PollinatorError as error:
                if not error.retryable or not left:
                    raise
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.5))
            pause_s *= 2

    @asynccontextmanager
    async def subscribed(self, kind: str, fields: Mapping[str, Any]) -> AsyncIterator[AsyncIterator[Any]]:
        """Send one message over a websocket; gives payloads until the server closes it.

        Raises:
            Unavailable: it cannot be had.
            PollinatorError: it is refused.
        """
        try:
            connecting = self._open().ws_connect(f"{self._url}/pubsub", ssl=self._ssl, heartbeat=30.0)
            socket = await asyncio.wait_for(connecting, CONNECT_S)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._down(error) from error
        try:
            await socket.send_str(self._envelope(kind, fields))
            yield self._payloads(socket)
        except (aiohttp.ClientError, OSError) as error:
            raise self._down(error) from error
        finally:
            await socket.close()

    async def _payloads(self, socket: aiohttp.ClientWebSocketResponse) -> AsyncIterator[Any]:
        async for message in socket:
            if message.type is aiohttp.WSMsgType.TEXT:
                yield self._payload("the subscription", 0, message.data.encode())

    async def _once(self, kind: str, fields: Mapping[str, Any], timeout_s: float) -> Any:
        timeout = aiohttp.ClientTimeout(total=timeout_s, sock_connect=min(CONNECT_S, timeout_s))
        body = self._envelope(kind, fields)
        try:
            async with self._open().post(
                f"{self._url}/api", data=body, timeout=timeout, ssl=self._ssl
            ) as reply:
                answer = await reply.content.read(MAX_REPLY_BYTES + 1)
                while not reply.content.at_eof():
                    answer += await reply.content.read(MAX_REPLY_BYTES + 1)
                    if len(answer) > MAX_REPLY_BYTES:
                        raise Unavailable(f"{self.server} sends too much", reason="colony_garbled")
                return self._payload(kind, reply.status, answer)
        except aiohttp.ClientConnectorCertificateError as error:
            raise self._distrusted(error) from error
        except aiohttp.ClientConnectorSSLError as error:
            raise self._distrusted(error) from error
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise self._down(error) from error
        except TimeoutError as error:
            raise Unanswered(
                f"{self.server} gave no answer for {timeout_s:g} s", reason="colony_silent"
            ) from error
        except (aiohttp.ClientError, OSError) as error:
            raise Unanswered(
                f"{self.server} cut the line: {error or type(error).__name__}", reason="colony_cut"
            ) from error

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=CONNECTIONS, keepalive_timeout=60.0),
                trust_env=True,
            )
        return self._session

    def _envelope(self, kind: str, fields: Mapping[str, Any]) -> str:
        message = json.dumps({**fields, "msgtype": kind}, ensure_ascii=False, separators=(",", ":"))
        payload = base64.b64encode(message.encode())
        signature = self._key.sign(payload)
        return json.dumps({"payloadtype": kind, "payload": payload.decode(), "signature": signature})

    def _payload(self, kind: str, status: int, answer: bytes) -> Any:
        if not answer and status < 400:
            # A defect of the server: there is nothing in it.
            return None
        try:
            envelope = json.loads(answer)
            payload = json.loads(base64.b64decode(envelope["payload"]))
            refused = bool(envelope.get("error", False))
        except (ValueError, KeyError, TypeError, binascii.Error) as error:
            said = answer[:100].decode(errors="replace")
            raise Unavailable(
                f"{self.server} answers with what no Colonies server says ({status}): {said}",
                reason="colony_garbled",
                hint="see COLONIES_SERVER_HOST, COLONIES_SERVER_PORT and COLONIES_TLS",
            ) from error
        if refused:
            raise _refusal(kind, status, payload)
        return payload

    def _down(self, error: BaseException) -> Unavailable:
        why = str(error) or type(error).__name__
        return Unavailable(
            f"the Colonies server at {self.server} does not answer: {why}", reason="colony_down"
        )

    def _distrusted(self, error: BaseException) -> PollinatorError:
        return Denied(f"there is no trust in {self.server}: {error}", reason="colony_tls", hint=_TLS_HINT)


def _context(colony: Colony) -> ssl.SSLContext | bool:
    if not colony.tls:
        return True
    try:
        context = ssl.create_default_context(cafile=colony.ca_bundle or None)
    except OSError as error:
        raise InvalidInput(
            f"{colony.ca_bundle} holds no certificates: {error}",
            reason="bad_colony",
            hint="see COLONIES_CA_BUNDLE",
        ) from error
    if colony.skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _refusal(kind: str, status: int, payload: Any) -> PollinatorError:
    failure: Mapping[str, Any] = payload if isinstance(payload, dict) else {}
    status = int(failure.get("status") or status)
    message = str(failure.get("message") or payload).strip()
    match status:
        case 401 | 403:
            hint = "see COLONIES_COLONY_NAME and COLONIES_PRVKEY: the key has to be of an approved member of the colony"
            return Denied(f"the Colonies server refuses: {message}", reason="colony_denied", hint=hint)
        case 404:
            return NotFound(f"the Colonies server has nothing like it: {message}", reason="colony_missing")
        case _ if "already exists" in message:
            return AlreadyExists(f"the Colonies server has it: {message}", reason="colony_exists")
        case 408:
            return TimedOut(f"the Colonies server gave up: {message}", reason="colony_silent")
        case _ if status >= 500:
            return Unavailable(f"the Colonies server failed: {message}", reason="colony_failed")
        case _:
            return InvalidInput(
                f"the Colonies server does not take {kind}: {message}", reason="colony_refused"
            )
