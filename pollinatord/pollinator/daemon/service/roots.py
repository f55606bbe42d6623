"""Which folder a client means: whatever links lead to a project, it is one.

All that follows compares names of folders, so links are resolved here, once for every call there is.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from pollinator.daemon.pool import Pool
from pollinator.v1.executor_pb2 import PreflightRequest
from pollinator.v1.project_pb2 import CloseProjectRequest
from pollinator.v1.run_pb2 import StartRunRequest
from pollinator.wire.errors import InvalidInput


class Roots:
    """The folders that requests name."""

    def __init__(self, pool: Pool, listed: Callable[[str], bool]) -> None:
        """A disk that does not answer may hold up ``pool``; ``listed`` says whether a project is open so."""
        self._pool = pool
        self._listed = listed

    async def resolve(self, request: Any) -> None:
        """Give a request the real path in place of the ``root`` that it names.

        Raises:
            InvalidInput: it can be no path.
        """
        if isinstance(request, (StartRunRequest, PreflightRequest)):
            request = request.project if request.HasField("project") else None
        root = getattr(request, "root", "")
        # What is no absolute path is refused by those who know whether it may be left out.
        if not os.path.isabs(root):
            return
        # A project that was moved, and left a link behind, is still to be forgotten by the name it has.
        if isinstance(request, CloseProjectRequest) and self._listed(root):
            return
        try:
            request.root = await self._pool.run(os.path.realpath, root)
        except ValueError as error:
            raise InvalidInput(f"{root!r} is no path of a project: {error}", reason="bad_path") from error
