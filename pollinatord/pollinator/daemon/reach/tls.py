"""An executor that a site runs as a service, where both sides show certificates: ``grpcs://HOST:PORT``.

The channel leads to a Unix socket of ours, and from there each of its connections goes over TLS. So the files
are read anew for each of them, and what went wrong is known in words that help.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path

import grpc

from pollinator.daemon.reach.listener import Listener
from pollinator.daemon.reach.transport import NotLoggedIn, Peer, Place, Tell
from pollinator.wire import places
from pollinator.wire.certificates import Identity, folder_of
from pollinator.wire.channel import open_blocking_channel, open_channel
from pollinator.wire.errors import InvalidInput, NeedsLogin, PollinatorError, Unavailable, Violation
from pollinator.wire.tls import client_context, host_and_port

SETTINGS = ("tls.certificate", "tls.key", "tls.authority")
"""Files; by default those that ``pollinator executors certificate NAME`` made."""

CONNECT_S = 10.0
ASK_S = 5.0
SOON_S = 2.0
"""A channel that has just failed to connect does so again within this time."""
BLOCK = 256 * 1024
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
_WRONG_HOST = (62, 64)
_EXPIRED = 10
"""What OpenSSL calls them."""


class OverTls(ABC):
    """An executor whose service shows a certificate and wants one; who starts and ends it is not our concern.

    Args:
        place: what is remembered of it.
        target: where it is, for people.
    """

    near = False
    trusted = False
    owned = False
    idle = "not asked yet"
    hint = ""
    """What to do where nobody answers."""

    def __init__(self, place: Place, target: str) -> None:
        self.configure(place)
        self._target = target
        self._socket = places.runtime_dir() / f"tls-{place.mark}.sock"
        self._listener = Listener(self._socket, self._carry, self._note)
        self._trouble: PollinatorError | None = None

    @property
    @abstractmethod
    def _host(self) -> str:
        """The name that its certificate has to have."""

    @abstractmethod
    async def _dial(self, context: ssl.SSLContext) -> Streams:
        """A connection to it, over which TLS is spoken already; raises OSError."""

    def open(self) -> grpc.aio.Channel:
        """A channel to our socket."""
        return open_channel(f"unix:{self._socket}", long_line=True)

    def open_blocking(self) -> grpc.Channel:
        """The same for threads."""
        return open_blocking_channel(f"unix:{self._socket}", long_line=True)

    def may_answer(self) -> bool:
        """Once it was asked for the way is there."""
        return self._listener.listens

    def login(self) -> list[str]:
        """Nobody has to."""
        return []

    def hurry(self) -> None:
        """Nothing is put off."""
        return

    def configure(self, place: Place) -> None:
        """The next connection has other files."""
        _check(place.settings)
        self._place = place
        made = Identity.below(folder_of(place.name) / "client")
        self._identity = Identity(
            Path(place.settings.get("tls.certificate", made.certificate)),
            Path(place.settings.get("tls.key", made.key)),
            Path(place.settings.get("tls.authority", made.authority)),
        )

    async def ensure(self, peer: Peer, tell: Tell) -> None:
        """Ask whether somebody is there whom we believe, and who believes us.

        Raises:
            NotLoggedIn: one of the certificates is missing, wrong or expired.
            Unavailable: nobody answers.
        """
        await self._listener.open()
        tell(f"asking at {self._target}")
        self._trouble = None
        deadline = time.monotonic() + SOON_S
        while await peer.ask(ASK_S) is None:
            if (trouble := self._why()) is not None:
                raise trouble
            if time.monotonic() > deadline:
                text = f"executor {self._place.name} does not answer at {self._target}"
                raise Unavailable(text, reason="executor_down", hint=self.hint)
            # The channel has said what was so the last time, and tries again only now.
            await asyncio.sleep(0.05)

    def _why(self) -> PollinatorError | None:
        """What has gone wrong since it was asked, as far as is known."""
        return self._trouble

    async def remove(self, *, busy: bool) -> str:
        """It is somebody else's."""
        return ""

    async def close(self) -> None:
        """End all connections."""
        await self._listener.close()

    def _note(self, error: PollinatorError) -> None:
        self._trouble = error

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            context = client_context(self._identity)
        except NeedsLogin as error:
            raise self._not_trusted(error.message, error.reason) from error
        try:
            async with asyncio.timeout(CONNECT_S):
                there, back = await self._dial(context)
        except ssl.SSLCertVerificationError as error:
            raise self._not_believed(error) from error
        except ssl.SSLError as error:
            raise self._refused(str(error)) from error
        except (OSError, TimeoutError) as error:
            raise Unavailable(
                f"executor {self._place.name} does not answer at {self._target}: {str(error) or 'no word'}",
                reason="executor_down",
                hint=self.hint,
            ) from error
        came, ended_here = 0, False
        try:
            async with asyncio.TaskGroup() as group:
                up = group.create_task(_pass_on(reader, back), name=f"to {self._target}")
                async for count in _passed_on(there, writer):
                    came += count
                ended_here = up.done()
                up.cancel()
        except* OSError:
            # An end as good as any; errors of TLS are of this family.
            pass
        finally:
            back.close()
        if not came and not ended_here:
            # With TLS 1.3 the other side looks at our certificate when we are done with its own.
            raise self._refused("it ends the connection as soon as it has seen it")

    def _not_believed(self, error: ssl.SSLCertVerificationError) -> NotLoggedIn:
        if error.verify_code == _EXPIRED:
            return self._not_trusted(f"the certificate of {self._target} has expired", "certificate_expired")
        if error.verify_code in _WRONG_HOST:
            text = f"the certificate of {self._target} is for another host: {error.verify_message}"
            return self._not_trusted(text, "certificate_host", f"--host {self._host}")
        text = f"{self._target} shows a certificate of another authority: {error.verify_message}"
        return self._not_trusted(text, "certificate_foreign")

    def _refused(self, why: str) -> NotLoggedIn:
        return self._not_trusted(f"{self._target} refuses our certificate: {why}", "certificate_refused")

    def _not_trusted(self, text: str, reason: str, option: str = "") -> NotLoggedIn:
        command = f"pollinator executors certificate {self._place.name} --replace {option}".strip()
        return NotLoggedIn(f"executor {self._place.name}: {text}", reason=reason, fix=command)


class Secured(OverTls):
    """A service at another machine."""

    hint = "its service listens with: pollinator-executor KIND --listen HOST:PORT"

    def __init__(self, place: Place, target: str) -> None:
        super().__init__(place, target)
        self._named, self._port = host_and_port(target)

    @property
    def _host(self) -> str:
        return self._named

    async def _dial(self, context: ssl.SSLContext) -> Streams:
        return await asyncio.open_connection(self._named, self._port, ssl=context)


def _check(settings: Mapping[str, str]) -> None:
    violations = [
        Violation(name, f"is no setting of such an executor; known are: {', '.join(SETTINGS)}")
        for name in settings
        if name.startswith("tls.") and name not in SETTINGS
    ]
    violations += [
        Violation(name, "write an absolute path")
        for name in SETTINGS
        if not Path(settings.get(name, "/")).is_absolute()
    ]
    if violations:
        raise InvalidInput("some settings cannot be meant", reason="bad_settings", violations=violations)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    async for _ in _passed_on(reader, writer):
        pass


async def _passed_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> AsyncGenerator[int]:
    """How much of what comes has gone on, up to the end."""
    while data := await reader.read(BLOCK):
        writer.write(data)
        await writer.drain()
        yield len(data)
    writer.close()
