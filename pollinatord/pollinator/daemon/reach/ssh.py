"""An executor on a machine behind ssh: installed there in the user's own folders, started, forwarded here."""

from __future__ import annotations

import asyncio
import logging
import random
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc

from pollinator.daemon.reach import far
from pollinator.daemon.reach.openssh import SILENT, Conversation, Ssh
from pollinator.daemon.reach.transport import NotLoggedIn, Peer, Place, Tell, silent
from pollinator.daemon.reach.wheels import Wheels
from pollinator.wire import places
from pollinator.wire.channel import open_blocking_channel, open_channel
from pollinator.wire.errors import InvalidInput, PollinatorError, Unavailable

SETTINGS = ("ssh.dir", "ssh.python")
ASK_S = 5.0
"""How long an executor at the end of a slow line may take for a word about itself."""
LISTEN_S = 1.0
ANSWER_S = 20.0
"""Longest time from its start to its first answer here."""
SOON_S = 2.0
"""The same when its socket was forwarded before."""
FRESH_S = 10.0
"""So long is believed what a connected executor said about itself: nothing is asked for a run."""
RETRY_S = (1.0, 15.0)
"""Shortest and longest pause after a failure."""
LOGIN_RETRY_S = (60.0, 3600.0)
"""The same for logging in without anybody's help: sites lock out who tries too often."""
SHARED_S = 10.0
"""How often to look whether somebody has logged in meanwhile, which costs nothing there."""

_ADDRESS = re.compile(r"ssh://(?:[\w.+-]+@)?(?:[\w.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?", re.ASCII)
_log = logging.getLogger(__name__)


class SshTransport:
    """The way to one executor over ssh.

    Args:
        place: what is remembered of it.
        command: how ssh is called here, such as ``["ssh", "-F", "config"]``.
        wheels: what is installed there.

    Raises:
        InvalidInput: the address or a setting cannot be meant.
    """

    near = False
    trusted = False
    owned = True
    idle = "not connected yet; the first run connects"

    def __init__(self, place: Place, command: Sequence[str], wheels: Wheels) -> None:
        host = place.address.removeprefix("ssh://").rpartition("@")[2]
        if not _ADDRESS.fullmatch(place.address) or host.startswith("-"):
            raise InvalidInput(
                f"{place.address!r} is no address for ssh",
                reason="bad_address",
                hint="an address looks like ssh://user@host or ssh://user@host:2222",
            )
        unknown = [name for name in place.settings if name.startswith("ssh.") and name not in SETTINGS]
        if unknown:
            hint = f"known are: {', '.join(SETTINGS)}"
            raise InvalidInput(f"there is no setting {unknown[0]}", reason="bad_setting", hint=hint)
        self._place = place
        self._wheels = wheels
        self._socket = places.runtime_dir() / f"far-{place.mark}.sock"
        # ssh adds 17 letters for a moment, so this is shorter than other paths of sockets.
        self._ssh = Ssh(place, command, places.runtime_dir() / f"m{place.mark}")
        self._heard_s = -FRESH_S
        self._trouble: PollinatorError | None = None
        self._failures = 0
        self._again_s = self._login_s = 0.0

    def open(self) -> grpc.aio.Channel:
        """A channel to the forwarded socket."""
        return open_channel(f"unix:{self._socket}")

    def open_blocking(self) -> grpc.Channel:
        """The same for threads."""
        return open_blocking_channel(f"unix:{self._socket}")

    def may_answer(self) -> bool:
        """The socket is there, and was good for an answer the last time."""
        return self._trouble is None and self._socket.exists()

    def login(self) -> list[str]:
        """What makes the connection that everything else uses."""
        return self._ssh.login()

    def hurry(self) -> None:
        """Ask and try at once when asked next."""
        self._heard_s, self._again_s, self._login_s = -FRESH_S, 0.0, 0.0

    def configure(self, place: Place) -> None:
        """Executor and connection have the new settings from the next time on."""
        self._place = place
        self._ssh.python = place.settings.get("ssh.python", "")
        self.hurry()

    async def ensure(self, peer: Peer, tell: Tell) -> None:
        """Connect, install and start whatever is missing. A connection in use costs no round trip, or one.

        Raises:
            NotLoggedIn: somebody has to log in first.
            PollinatorError: it cannot be brought up, or could not a moment ago.
        """
        if peer.connected() and time.monotonic() - self._heard_s < FRESH_S:
            return
        if not await self._answers(peer):
            if self._trouble is not None and time.monotonic() < self._again_s:
                raise self._trouble.with_traceback(None)
            try:
                await self._bring_up(peer, tell)
            except PollinatorError as error:
                self._put_off(error)
                raise
        self._heard_s = time.monotonic()
        self._trouble, self._failures = None, 0

    async def remove(self, *, busy: bool) -> str:
        """End the executor there and remove what it kept."""
        try:
            await self._ssh.connect(silent)
            await self._wheels.prepare()
            async with self._ssh.conversation(_program(), silent) as talk:
                await talk.ask(self._request("remove", runs=busy))
        except PollinatorError as error:
            return f"its files and perhaps a process stay at {self._place.address}: {error.message}"
        finally:
            await self._ssh.disconnect()
            self._socket.unlink(missing_ok=True)
        return ""

    async def close(self) -> None:
        """The connection outlives the daemon, and the next one uses it."""

    async def _answers(self, peer: Peer) -> bool:
        if not await self._listens():
            return False
        found = await peer.ask(ASK_S)
        # With other settings it is replaced, also if the daemon that changed them did not live to do it.
        return (
            found is not None
            and found.version == self._wheels.version
            and dict(found.settings) == self._executor_settings()
        )

    async def _listens(self) -> bool:
        """Ssh is there; gRPC would take its time to find out."""
        try:
            async with asyncio.timeout(LISTEN_S):
                _, writer = await asyncio.open_unix_connection(self._socket)
        except (OSError, TimeoutError):
            return False
        writer.close()
        return True

    def _put_off(self, error: PollinatorError) -> None:
        now = time.monotonic()
        needs_login = isinstance(error, NotLoggedIn)
        if needs_login and now < self._login_s:
            self._again_s = now + SHARED_S
            return
        if self._trouble is not None and self._trouble.reason != error.reason:
            self._failures = 0
        least, most = LOGIN_RETRY_S if needs_login else RETRY_S
        pause_s = min(most, least * 2**self._failures) * random.uniform(0.7, 1.0)  # noqa: S311 - no secret
        self._failures = min(self._failures + 1, 10)
        self._again_s = now + (SHARED_S if needs_login else pause_s)
        self._login_s = now + pause_s if needs_login else 0.0
        self._trouble = error

    async def _bring_up(self, peer: Peer, tell: Tell) -> None:
        trouble = self._trouble
        if trouble is not None and trouble.reason in (SILENT, "host_unreachable"):
            await self._ssh.replace(tell)
        elif isinstance(trouble, NotLoggedIn) and time.monotonic() < self._login_s:
            await self._ssh.connect(tell, refused=trouble)
        else:
            await self._ssh.connect(tell)
        await self._wheels.prepare()
        async with self._ssh.conversation(_program(), tell) as talk:
            found = await talk.ask(self._request("look"))
            if not found["installed"]:
                await self._install(talk, found, tell)
                found = await talk.ask(self._request("look"))
        _log.info("executor %s is on %s", self._place.name, found["host"])
        if not await self._listens() or not await self._answers_within(peer, SOON_S):
            tell("forwarding its socket")
            await self._ssh.forward(self._socket, found["socket"])
        if not await self._answers_within(peer, ANSWER_S):
            raise Unavailable(
                f"executor {self._place.name} runs on {found['host']} and gives no answer here",
                reason="executor_down",
                hint="sshd there may not forward Unix sockets: AllowStreamLocalForwarding, on by default",
            )

    async def _answers_within(self, peer: Peer, patience_s: float) -> bool:
        deadline = time.monotonic() + patience_s
        while not await self._answers(peer):
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(0.02)
        return True

    async def _install(self, talk: Conversation, found: dict[str, Any], tell: Tell) -> None:
        """By what index pip finds there; where it finds none, with wheels from here."""
        own = self._wheels.own
        tell(f"installing Pollinator {self._wheels.version} on {found['host']}")
        await self._send(talk, [own], ())
        refused = "there is no pip there"
        if found["pip"]:
            done = await talk.ask(self._request("install", index=True))
            if done["installed"]:
                return
            refused = done["why"]
        tell("pip finds no packages there: sending them from here")
        _log.info("executor %s: %s", self._place.name, refused)
        wanted = await self._wheels.fetch(found, tell)
        await self._send(talk, wanted, found["wheels"])
        done = await talk.ask(self._request("install", index=False))
        if not done["installed"]:
            raise Unavailable(
                f"Pollinator cannot be installed on {found['host']}: {done['why']}", reason="install_failed"
            )

    async def _send(self, talk: Conversation, wheels: Sequence[Path], there: Sequence[str]) -> None:
        for wheel in wheels:
            if wheel.name not in there:
                data = await self._wheels.read(wheel)
                await talk.ask(self._request("put", name=wheel.name, size=len(data)), data)

    def _executor_settings(self) -> dict[str, str]:
        return {name: text for name, text in self._place.settings.items() if not name.startswith("ssh.")}

    def _request(self, operation: str, **more: object) -> dict[str, Any]:
        return {
            "op": operation,
            "dir": self._place.settings.get("ssh.dir", ""),
            "place": f"{self._place.name}-{self._place.mark}",
            "kind": self._place.kind,
            "settings": self._executor_settings(),
            "tag": self._wheels.tag,
            "wheel": self._wheels.own.name,
            **more,
        }


def _program() -> str:
    return Path(far.__file__).read_text("utf-8")
