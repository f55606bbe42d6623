"""What goes wrong on demand between the API server and those who ask it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from support.kubernetes.refusals import Refusal


@dataclass
class Fault:
    """Hits requests of a kind."""

    how: str
    """``refuse`` with a code, ``lose`` the answer of what was done, ``cut`` before anything is done, ``hold``
    it back for a while, ``garbage`` instead of JSON, or ``end`` a watch at once."""
    verb: str = ""
    """An empty one is every one."""
    resource: str = ""
    code: int = 503
    message: str = "the server is currently unable to handle the request"
    retry_after_s: int = 0
    delay_s: float = 0.0
    times: int = 1
    """0 is for ever."""
    skip: int = 0
    """So many are let through before."""
    hit: int = 0
    seen: int = 0

    def hits(self, verb: str, resource: str) -> bool:
        """This request is hit, which is counted."""
        if self.verb not in ("", verb) or self.resource not in ("", resource):
            return False
        self.seen += 1
        if self.seen <= self.skip or (self.times and self.hit >= self.times):
            return False
        self.hit += 1
        return True

    async def before(self) -> None:
        """What happens before anything is done.

        Raises:
            Refusal: that is the fault.
            ConnectionAbortedError: the line is cut.
        """
        if self.how == "hold":
            await asyncio.sleep(self.delay_s)
        if self.how == "refuse":
            reasons = {
                403: "Forbidden",
                409: "Conflict",
                410: "Expired",
                429: "TooManyRequests",
                500: "InternalError",
            }
            raise Refusal(
                self.code,
                reasons.get(self.code, "ServiceUnavailable"),
                self.message,
                retry_after_s=self.retry_after_s,
            )
        if self.how == "cut":
            raise ConnectionAbortedError
