"""Calls of a Colonies server: signed messages over connections that are kept, and what goes wrong with them.

The only module that imports aiohttp.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import os
import random
import ssl
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self
from urllib.request import getproxies

import aiohttp

from pollinator.executors.colonies.identity import Key
from pollinator.executors.colonies.refusals import Unanswered, refused
from pollinator.v1.colony_pb2 import Colony
from pollinator.wire.colony_env import is_this_machine
from pollinator.wire.errors import Denied, Exhausted, InvalidInput, PollinatorError, Unavailable

CALL_S = 20.0
CONNECT_S = 10.0
CLOSE_S = 1.0
TRIES = 4
"""Of a call that may be repeated."""
FIRST_PAUSE_S = 0.1
MOST_CALLS = 16
"""At a time."""
MOST_BYTES = 256 * 1024 * 1024
"""No answer is longer."""
_NO_TLS = "if the server has no TLS, COLONIES_TLS=false says so"
_TLS = "if the server has TLS, COLONIES_TLS=true says so"
_TRUST = (
    "COLONIES_CA_BUNDLE names a file with its authority's certificate; COLONIES_SKIPVERIFY=true accepts any"
)
_PROXY = "a proxy is http://host:port in https_proxy or http_proxy; no_proxy names who needs none"
_ADDRESS = "COLONIES_SERVER_HOST and COLONIES_SERVER_PORT have to be those of a Colonies server"


class Rpc:
    """A line to one server, as one member. Belongs to one event loop."""

    def __init__(self, colony: Colony) -> None:
        self._key = Key(colony.private_key)
        self._tls = colony.tls
        host = f"[{colony.host}]" if ":" in colony.host else colony.host
        self.server = f"{host}:{colony.port}"
        """Which server this is, for people."""
        scheme = "https" if colony.tls else "http"
        self._url = f"{scheme}://{self.server}"
        self._ssl = _context(colony)
        self._proxied = not is_this_machine(colony.host) and scheme in getproxies()
        self._turns = asyncio.Semaphore(MOST_CALLS)
        self._session: aiohttp.ClientSession | None = None

    @property
    def identity(self) -> str:
        """Who asks."""
        return self._key.identity

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
        """Ask, and return the payload of the answer: what JSON holds.

        Args:
            kind: type of the message.
            fields: the rest of it.
            timeout_s: so long it may take, all tries together.
            repeat: asking again is harmless: it is done a few times when there is no answer.

        Raises:
            Unanswered: the call may have had its effect.
            Unavailable: it has had none.
            PollinatorError: it was refused.
        """
        now = asyncio.get_running_loop().time
        deadline = now() + timeout_s
        pause_s = FIRST_PAUSE_S
        for _ in range(TRIES - 1 if repeat else 0):
            try:
                return await self._once(kind, fields, deadline - now())
            except PollinatorError as error:
                if not error.retryable or now() + 2 * pause_s > deadline:
                    raise
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.5))  # noqa: S311 - no secret
            pause_s *= 2
        return await self._once(kind, fields, deadline - now())

    async def heard(self, kind: str, fields: Mapping[str, Any]) -> AsyncGenerator[Any]:
        """Send a message over a websocket of its own, and give what comes until that is closed, or cut.

        Raises:
            Unavailable: there is no websocket.
            PollinatorError: the message was refused.
        """
        with self._mapped(CONNECT_S):
            async with asyncio.timeout(CONNECT_S):
                socket = await self._open().ws_connect(
                    f"{self._url}/pubsub",
                    ssl=self._ssl,
                    heartbeat=30.0,
                    timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_S),  # pyright: ignore[reportCallIssue] - old attrs
                )
        try:
            with self._mapped(CONNECT_S):
                await socket.send_str(self._envelope(kind, fields))
            async for message in socket:
                if message.type is aiohttp.WSMsgType.TEXT:
                    yield self._payload(kind, 0, message.data.encode())
        finally:
            await socket.close()

    async def _once(self, kind: str, fields: Mapping[str, Any], timeout_s: float) -> Any:
        # Zero would be no limit at all.
        limit_s = max(FIRST_PAUSE_S, timeout_s)
        timeout = aiohttp.ClientTimeout(total=limit_s, sock_connect=min(CONNECT_S, limit_s))
        body = self._envelope(kind, fields)
        answer = bytearray()
        with self._mapped(limit_s):
            async with (
                self._turns,
                # Another server must not see what is signed for this one.
                self._open().post(
                    f"{self._url}/api", data=body, timeout=timeout, ssl=self._ssl, allow_redirects=False
                ) as reply,
            ):
                async for part in reply.content.iter_any():
                    answer += part
                    if len(answer) > MOST_BYTES:
                        raise Exhausted(f"{self.server} sends too much", reason="colony_garbled")
        return self._payload(kind, reply.status, bytes(answer))

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                # Those that wait to be told of something are many, and need no turn.
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=60.0),
                # Also has it look for a password in .netrc.
                trust_env=self._proxied,
            )
        return self._session

    def _envelope(self, kind: str, fields: Mapping[str, Any]) -> str:
        message = json.dumps({**fields, "msgtype": kind}, ensure_ascii=False, separators=(",", ":"))
        try:
            payload = base64.b64encode(message.encode())
        except UnicodeEncodeError as error:
            raise InvalidInput(
                f"a Colonies server takes text only, not {error.object[error.start : error.end]!r}",
                reason="colony_refused",
            ) from error
        signature = self._key.sign(payload)
        return json.dumps({"payloadtype": kind, "payload": payload.decode(), "signature": signature})

    def _payload(self, kind: str, status: int, answer: bytes) -> Any:
        try:
            # After some failures the server sends a second answer behind the first.
            envelope, _ = json.JSONDecoder().raw_decode(answer.decode().lstrip())
            payload = json.loads(base64.b64decode(envelope["payload"]))
            failed = bool(envelope.get("error", False))
        except (ValueError, LookupError, TypeError, RecursionError, binascii.Error) as error:
            said = " ".join(answer[:100].decode(errors="replace").split()) or "nothing"
            raise Unanswered(
                f"{self.server} does not answer as a Colonies server does: {status} {said}",
                reason="colony_garbled",
                hint=_ADDRESS if self._tls else f"{_ADDRESS}; {_TLS}",
            ) from error
        if failed:
            raise refused(kind, status, payload, self.identity)
        return payload

    @contextmanager
    def _mapped(self, limit_s: float) -> Generator[None]:
        try:
            yield
        except aiohttp.ClientConnectorCertificateError as error:
            raise Denied(
                f"{self.server} cannot be trusted: {error.certificate_error}",
                reason="colony_tls",
                hint=_TRUST,
            ) from error
        except aiohttp.ClientConnectorSSLError as error:
            # May pass: it is as well what a server looks like that ends just now.
            raise self._down(_why(error), _NO_TLS) from error
        except aiohttp.ClientProxyConnectionError as error:
            raise self._down(f"its proxy says {_why(error)}", _PROXY) from error
        except (
            aiohttp.ClientConnectorError,
            aiohttp.ConnectionTimeoutError,
            aiohttp.ClientHttpProxyError,
            aiohttp.WSServerHandshakeError,
        ) as error:
            raise self._down(_why(error)) from error
        except ValueError as error:
            # Not repeated: it may hold a password.
            raise InvalidInput(
                f"{self.server} or its proxy cannot be meant", reason="bad_colony", hint=_PROXY
            ) from error
        except TimeoutError as error:
            raise Unanswered(
                f"{self.server} gave no answer for {limit_s:.3g} s", reason="colony_silent"
            ) from error
        except (aiohttp.ClientError, OSError) as error:
            raise Unanswered(
                f"{self.server} cut the line: {_why(error)}",
                reason="colony_cut",
                hint="" if self._tls else _TLS,
            ) from error

    def _down(self, why: str, hint: str = "") -> Unavailable:
        return Unavailable(
            f"the Colonies server at {self.server} cannot be reached: {why}",
            reason="colony_down",
            hint=hint,
        )


def _why(error: Exception) -> str:
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(cause, ssl.SSLError):
        return cause.reason or str(cause)
    if isinstance(cause, OSError) and (cause.errno or 0) > 0:
        return os.strerror(cause.errno or 0)
    return (isinstance(cause, OSError) and cause.strerror) or str(cause) or type(cause).__name__


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
