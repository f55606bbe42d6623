"""A node, as the pods on it see it."""

from __future__ import annotations

import asyncio
from typing import Protocol

from support.kubernetes.kinds import Obj
from support.kubernetes.world import World


class Node(Protocol):
    """What a pod asks of its node."""

    images: set[str]
    """Those that it has."""
    silent: bool
    """It is cut off from the API."""
    server: tuple[str, int]
    """Where pods find the API server."""

    @property
    def name(self) -> str:
        """Its name."""
        raise NotImplementedError

    @property
    def world(self) -> World:
        """The cluster."""
        raise NotImplementedError

    @property
    def mark(self) -> str:
        """Begins the names of control groups; empty where there are to be none."""
        raise NotImplementedError

    async def pull(self, image: str) -> None:
        """Take the time that it takes."""

    def release(self, pod: Obj) -> None:
        """A pod has ended: one that is deleted goes now."""

    def write_hosts(self) -> None:
        """Names of pods have changed."""


class Slow:
    """Images that take until somebody says that they are there."""

    def __init__(self) -> None:
        self._there = asyncio.Event()

    async def wait(self) -> None:
        """Until they are."""
        await self._there.wait()

    def release(self) -> None:
        """They are; those that are pulled from now on take their time again."""
        self._there.set()
        self._there = asyncio.Event()
