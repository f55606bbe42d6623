"""Limited credentials for executors on other machines, issued by their store, and new ones in time.

The user's own never go there: where a store issues none that are limited, the files travel over the bridge.
"""

from __future__ import annotations

import logging
import time

from pollinator.chunks.keys import namespace
from pollinator.daemon.pool import Pool
from pollinator.daemon.sync.stores import StoreKeeper
from pollinator.v1.store_pb2 import StoreSettings

AGAIN_S = 3600.0
"""A store that issued none is asked again after so long."""

RENEW_SHARE = 0.5
"""Of what is left of their time, after which there are new ones."""

_log = logging.getLogger(__name__)


class Issuing:
    """Credentials that were issued, by store and project."""

    def __init__(self, keeper: StoreKeeper) -> None:
        self._keeper = keeper
        self._asking: dict[str, Pool] = {}
        """A thread for each store, so that one that is slow holds up nobody else."""
        self._issued: dict[tuple[str, str], tuple[StoreSettings | None, float]] = {}
        """What was issued, and until when it is good enough, by our clock."""

    async def settings(self, store_id: str, project: str) -> StoreSettings | None:
        """The way to a project's objects for another machine; None where there is none.

        Raises:
            NeedsLogin: nothing is known about the store any more.
        """
        return (await self._good(store_id, project))[0]

    async def renewal_s(self, store_id: str, project: str) -> float | None:
        """In so many seconds there are new ones to hand on; None where there are none at all."""
        settings, until = await self._good(store_id, project)
        return None if settings is None else max(1.0, until - time.time())

    def close(self) -> None:
        """Let the threads end once they were answered."""
        for each in self._asking.values():
            each.close()

    async def _good(self, store_id: str, project: str) -> tuple[StoreSettings | None, float]:
        asking = self._asking.setdefault(store_id, Pool("issue", 1))
        return await asking.run(self._known, store_id, project)

    def _known(self, store_id: str, project: str) -> tuple[StoreSettings | None, float]:
        known = self._issued.get((store_id, project))
        if known is None or known[1] < time.time():
            known = self._issued[store_id, project] = self._ask(store_id, project)
        return known

    def _ask(self, store_id: str, project: str) -> tuple[StoreSettings | None, float]:
        settings = self._keeper.settings(store_id)
        now = time.time()
        if settings.WhichOneof("kind") != "s3":
            return None, now + AGAIN_S
        # boto3 costs a quarter of a second to import: only those with a bucket pay it.
        from pollinator.chunks.s3_limited import limited, travels

        issued = limited(settings.s3, namespace(project)) if travels(settings.s3) else None
        if issued is None:
            _log.info("store %s issues no limited credentials: files travel over the bridge", store_id)
            return None, now + AGAIN_S
        return StoreSettings(s3=issued.settings), now + RENEW_SHARE * (issued.until - now)
