"""What a way to an executor is. Each has a module of its own, and ``choose`` knows them all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import grpc

from pollinator.v1.executor_pb2 import Executor
from pollinator.wire.errors import NeedsLogin

Tell = Callable[[str], None]
"""Told what is done now, one line for people."""


@dataclass(frozen=True, slots=True)
class Place:
    """What is remembered of an executor."""

    name: str
    kind: str
    """Empty as long as nobody knows: it is found out when it is first reached."""
    address: str
    settings: Mapping[str, str]
    id: str
    """Made when it was added: another one of the same name later is another place."""

    @property
    def mark(self) -> str:
        """Short and the same for ever: names sockets and folders of this place alone."""
        known = json.dumps([self.address, self.id])
        return hashlib.blake2b(known.encode(), digest_size=4).hexdigest()


class Peer(Protocol):
    """The far end of a channel, whoever it is."""

    def connected(self) -> bool:
        """The channel has been connected since somebody answered, as far as can be seen from here."""
        ...

    async def ask(self, timeout_s: float = 2.0) -> Executor | None:
        """What the one who answers says about itself; None when nobody does."""
        ...


class Transport(Protocol):
    """One way to one executor. All calls come from one task at a time."""

    near: bool
    """The executor is on this machine and reaches every store that the daemon does."""
    trusted: bool
    """It is not near, but ours and on this machine: it may have the keys of a store, and hands none on."""
    owned: bool
    """What is at the far end is ours: it is taken away when the executor is removed."""
    idle: str
    """What to say of it as long as nobody has reached it."""

    def open(self) -> grpc.aio.Channel:
        """The channel; it connects when first used, and again after a cut."""
        ...

    def open_blocking(self) -> grpc.Channel:
        """Another one, for worker threads."""
        ...

    def may_answer(self) -> bool:
        """Somebody may answer without being brought up first. Looks at this machine only."""
        ...

    def login(self) -> list[str]:
        """The program that logs in, for the user's own terminal; empty where nobody has to."""
        ...

    def hurry(self) -> None:
        """Somebody wants it now: do not wait because of what failed before."""
        ...

    def configure(self, place: Place) -> None:
        """Settings have changed: the executor has the new ones once ``ensure`` has returned."""
        ...

    async def ensure(self, peer: Peer, tell: Tell) -> None:
        """Return once the executor answers, and bring up what is needed for that.

        Raises:
            NotLoggedIn: somebody has to log in first.
            PollinatorError: it cannot be brought up.
        """
        ...

    async def remove(self, *, busy: bool) -> str:
        """Take away what this place has had at the far end; what stays there is said, for people.

        Args:
            busy: runs go on there; what they need stays.
        """
        ...

    async def close(self) -> None:
        """Let go; what runs there goes on."""
        ...


class NotLoggedIn(NeedsLogin):
    """Somebody has to log in, or to look at a host key. What was asked for waits until then."""

    retryable = True

    def __init__(self, message: str, *, reason: str, fix: str) -> None:
        super().__init__(message, reason=reason, hint=fix)
        self.fix = fix


def silent(line: str) -> None:
    """Nobody wants to know."""
