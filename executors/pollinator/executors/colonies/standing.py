"""Whose a process is: asked now and then, for nobody says when that changes.

A process that was cancelled, or that somebody else has been given, is gone. One that the server has put back
into its queue, because we were not heard or its time was over, waits to be given to us again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from enum import Enum

from pollinator.executors.colonies.client import Client
from pollinator.executors.colonies.messages import Process, State
from pollinator.wire.errors import NotFound, PollinatorError

AGAIN_S = 0.5
"""After a refusal that is not understood."""
_log = logging.getLogger(__name__)


class Standing(Enum):
    """Whose a process is, as far as is known."""

    OURS = 1
    WAITING = 2
    """Back in the queue."""
    ENDED = 3
    """It has ended, or is no more."""
    OTHERS = 4


class Gone(Exception):
    """The process is not ours any more."""


class Holding:
    """Watches over one process. Belongs to one event loop.

    Args:
        client: the colony.
        process_id: which process.
        look_s: how long to wait between looks.
    """

    def __init__(self, client: Client, process_id: str, look_s: Callable[[], float]) -> None:
        self._client = client
        self._process_id = process_id
        self._look_s = look_s
        self._news = asyncio.Event()
        self._scopes: set[asyncio.Timeout] = set()
        self.standing = Standing.OURS

    @property
    def gone(self) -> bool:
        """It is not ours, and will not be by itself."""
        return self.standing in (Standing.ENDED, Standing.OTHERS)

    @property
    def is_ours(self) -> bool:
        """The server has given it to us, and not taken it back."""
        return self.standing is Standing.OURS

    def given(self) -> None:
        """The server has given it to us again."""
        self._stand(Standing.OURS)

    async def watch(self) -> None:
        """Look now and then, until it is gone."""
        while not self.gone:
            await asyncio.sleep(self._look_s())
            try:
                await self.look()
            except PollinatorError as error:
                _log.debug("no word about process %s: %s", self._process_id, error.message)

    async def look(self) -> None:
        """See whose it is.

        Raises:
            PollinatorError: the server does not say.
        """
        try:
            process = await self._client.process(self._process_id)
        except NotFound:
            self._stand(Standing.ENDED)
            return
        self._stand(self._seen(process))

    async def ours(self) -> None:
        """Return once it is ours.

        Raises:
            Gone: it never will be.
        """
        while self.standing is not Standing.OURS:
            if self.gone:
                raise Gone
            await self._changed()

    async def certainly_ours(self) -> None:
        """The same, and the server has just said so.

        Raises:
            Gone: it never will be.
        """
        while True:
            try:
                await self.look()
                break
            except PollinatorError as error:
                _log.debug("no word about process %s: %s", self._process_id, error.message)
                await asyncio.sleep(AGAIN_S)
        await self.ours()

    async def refused(self) -> None:
        """Something was refused that only who has the process may do: see why, and wait until it is ours.

        Raises:
            Gone: it never will be.
        """
        try:
            await self.look()
        except PollinatorError as error:
            # We may be no member any more; that is for the one to mend who takes work.
            _log.debug("no word about process %s: %s", self._process_id, error.message)
        await self.ours()
        await asyncio.sleep(AGAIN_S)

    async def lost(self) -> None:
        """Return once it is gone."""
        while not self.gone:
            await self._changed()

    @asynccontextmanager
    async def unless_gone(self) -> AsyncGenerator[None]:
        """What is done in this block ends as soon as the process is gone.

        Raises:
            Gone: it is.
        """
        if self.gone:
            raise Gone
        scope = asyncio.timeout(None)
        try:
            async with scope:
                self._scopes.add(scope)
                try:
                    yield
                finally:
                    self._scopes.discard(scope)
        except TimeoutError:
            if scope.expired():
                raise Gone from None
            raise

    def _seen(self, process: Process) -> Standing:
        match process.state:
            case State.RUNNING:
                ours = process.executor_id == self._client.rpc.identity
                return Standing.OURS if ours else Standing.OTHERS
            case State.WAITING:
                return Standing.WAITING
            case _ if process.has_ended:
                return Standing.ENDED
            case _:
                # A state that is not known here: nothing says that it is not ours.
                return self.standing

    def _stand(self, standing: Standing) -> None:
        if self.gone or standing is self.standing:
            return
        _log.info("process %s: %s", self._process_id, standing.name.lower())
        self.standing = standing
        self._news.set()
        if self.gone:
            for scope in self._scopes:
                scope.reschedule(0.0)

    async def _changed(self) -> None:
        self._news.clear()
        await self._news.wait()
