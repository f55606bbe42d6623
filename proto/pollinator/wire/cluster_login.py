"""Who one is at a cluster: credentials that are found, renewed in time, and once for all who need them."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pollinator.wire import plugin
from pollinator.wire.errors import PollinatorError
from pollinator.wire.kubeconfig import (
    Context,
    Credentials,
    config_files,
    credentials_of,
    credentials_of_pod,
    find_context,
    is_in_pod,
)

PART = 0.9
"""After this much of the time that credentials are good, others are asked for."""
AGAIN_S = 5.0
"""So long after credentials could not be had nobody tries again: each try may run a program."""

_Result = TypeVar("_Result")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Where:
    """Which cluster is meant; where nothing is said the current context, else that of this very pod."""

    kubeconfig: str = ""
    """Files, with ``:`` between them."""
    context: str = ""
    namespace: str = ""


class Login:
    """Credentials for one cluster. Belongs to one event loop.

    Args:
        where: which cluster.
        environ: the environment to find it in.
        account: where a pod has its account.
        plugin_s: longest time a program may take to give a token.
        threads: for files, which may be on a share.
    """

    def __init__(
        self,
        where: Where,
        environ: Mapping[str, str],
        account: Path,
        plugin_s: float,
        threads: ThreadPoolExecutor,
    ) -> None:
        self._where = where
        self._environ = environ
        self._account = account
        self._plugin_s = plugin_s
        self._threads = threads
        self._turn = asyncio.Lock()
        self._ahead: asyncio.Task[None] | None = None
        """Renews credentials that are still good."""
        self._renew_s = 0.0
        self._failed: PollinatorError | None = None
        self._failed_s = 0.0
        self.credentials: Credentials | None = None
        """Those that were had last."""
        self.command = ""
        """With which somebody logs in, for people."""
        self.tries = 0
        """How often credentials were asked for."""

    async def current(self) -> Credentials:
        """Credentials that should be good now. Those that soon are not are renewed beside that.

        Raises:
            InvalidInput: nothing such is to be found.
            NeedsLogin: somebody has to log in.
        """
        now, idle = time.time(), self._ahead is None or self._ahead.done()
        # Clocks differ: a program may give what has expired already, and is not run for each call.
        if self.credentials is None or now > max(self.credentials.until, self._renew_s):
            await self.renew(self.tries)
        elif idle and now > self._renew_s and time.monotonic() >= self._failed_s:
            self._ahead = asyncio.create_task(self._renew_ahead())  # noqa: TID251 - close() ends it
        assert self.credentials is not None
        return self.credentials

    async def close(self) -> None:
        """Ask for no others any more."""
        if self._ahead is not None:
            self._ahead.cancel()
            await asyncio.wait([self._ahead])

    async def _renew_ahead(self) -> None:
        """Nobody waits for it, and a program may hang: those before are still good."""
        try:
            await self.renew(self.tries)
        except PollinatorError as error:
            _log.info("credentials are not renewed ahead of time: %s", error.message)
        except Exception:  # noqa: BLE001 - the root of a task: whoever needs others meets the defect again
            _log.exception("credentials are not renewed ahead of time")

    async def renew(self, seen: int) -> None:
        """Have credentials anew, once for all who have seen that they are needed.

        Args:
            seen: ``tries`` when that was seen.

        Raises:
            PollinatorError: they cannot be had, or could not a moment ago.
        """
        async with self._turn:
            if self._failed is not None and (self.tries != seen or time.monotonic() < self._failed_s):
                raise self._failed.with_traceback(None)
            if self.tries != seen:
                return
            try:
                fresh = await self._load()
            except PollinatorError as error:
                self.rejected(error)
                self.tries += 1
                raise
            self.tries += 1
            self._failed = None
            self.credentials, now = fresh, time.time()
            self._renew_s = now + max(AGAIN_S, PART * (fresh.until - now))

    def rejected(self, error: PollinatorError) -> None:
        """They were not good even when they were new: nobody tries again at once."""
        self._failed, self._failed_s = error, time.monotonic() + AGAIN_S

    def hurry(self) -> None:
        """Somebody may have logged in: try at once where that failed a moment ago."""
        self._failed_s = 0.0

    async def program(self) -> list[str]:
        """The program that logs in, for the user's own terminal; empty where none is known.

        Raises:
            InvalidInput: the cluster is not to be found.
        """
        context = await self._in_thread(self._context)
        return plugin.login_of(context) if context is not None else []

    async def _load(self) -> Credentials:
        context = await self._in_thread(self._context)
        if context is None:
            return await self._in_thread(lambda: credentials_of_pod(self._environ, self._account))
        self.command = context.login
        status = None
        if context.plugin is not None:
            status = await plugin.ask(context, self._environ, limit_s=self._plugin_s)
        return await self._in_thread(lambda: credentials_of(context, status))

    def _context(self) -> Context | None:
        """What the files say; None for the account of the pod that this is."""
        where = self._where
        files = config_files(where.kubeconfig, self._environ)
        named = where.kubeconfig or where.context or any(map(os.path.exists, files))
        if not named and is_in_pod(self._environ):
            return None
        return find_context(files, where.context, where.kubeconfig)

    async def _in_thread(self, work: Callable[[], _Result]) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)
