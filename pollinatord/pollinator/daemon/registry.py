"""The executors this daemon knows, by name. How each is reached is in ``reach``."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from pollinator.daemon.link import ExecutorLink
from pollinator.daemon.reach.book import Book
from pollinator.daemon.reach.choose import Ways, check_change
from pollinator.daemon.reach.local import LocalProcess
from pollinator.daemon.reach.transport import Place, Transport
from pollinator.model.project import COLONIES
from pollinator.v1.spec_pb2 import RunSpec
from pollinator.wire import places
from pollinator.wire.errors import AlreadyExists, InvalidInput, PollinatorError

DEFAULT_EXECUTOR = "local"

LOOK_S = 60.0
"""How often those that are far away are looked after while nobody asks for them."""
TROUBLED_S = 3.0
"""The same while one of them is out of reach; how often that costs anything is for its transport to say."""


_OF_THIS_MACHINE = (DEFAULT_EXECUTOR, COLONIES)
_log = logging.getLogger(__name__)


async def _kept(link: ExecutorLink) -> None:
    before = link.trouble
    try:
        await link.ensure()
    except PollinatorError as error:
        if before is None or before.reason != error.reason:
            _log.warning("%s", error.message)
    except Exception:  # noqa: BLE001 - the root of one link: a defect it meets must not end the daemon
        _log.exception("executor %s", link.place.name)


class Registry:
    """All executors by name.

    Args:
        state: folder of their own in the daemon's.
        ssh: how ssh is called.
    """

    def __init__(self, state: Path, ssh: Sequence[str] = ("ssh",)) -> None:
        self._ways = Ways(state, ssh)
        self._state = state
        self._book = Book(state / "executors.json")
        self._links = {DEFAULT_EXECUTOR: self._here(DEFAULT_EXECUTOR)}
        if (state / COLONIES).exists():
            self.colonies()
        self._unusable: list[Place] = []
        self._came = asyncio.Event()
        for place in self._book.read():
            try:
                self._links[place.name] = self._link(place, self._ways.to(place))
            except InvalidInput as error:
                # Added by a newer version of this program, which will want it back.
                _log.error("executor %s cannot be used: %s", place.name, error.message)
                self._unusable.append(place)

    def names(self) -> list[str]:
        """Names of all executors, sorted."""
        return sorted(self._links)

    def get(self, name: str) -> ExecutorLink:
        """The executor with this name; empty is the default.

        Raises:
            InvalidInput: there is none.
        """
        link = self._links.get(name or DEFAULT_EXECUTOR)
        if link is None:
            raise InvalidInput(
                f"there is no executor {name!r}",
                reason="executor_missing",
                hint=f"known are: {', '.join(self.names())}",
            )
        return link

    def colonies(self) -> ExecutorLink:
        """The one that hands runs over to colonies. Nobody sees it before somebody has needed it."""
        if COLONIES not in self._links:
            self._links[COLONIES] = self._here(COLONIES)
        return self._links[COLONIES]

    def for_run(self, asked: str, spec: RunSpec, *, colony: bool) -> ExecutorLink:
        """The executor of a run: the one that was asked for, else one that its spec names.

        Args:
            asked: name of an executor, or empty.
            spec: what is to be run.
            colony: there is a colony: whatever nobody here knows is known there.

        Raises:
            InvalidInput: there is none.
        """
        if asked == COLONIES and not colony:
            raise InvalidInput(
                "there is no colony",
                reason="colony_missing",
                hint="set COLONIES_SERVER_HOST and the variables that go with it: docs/colonies.md",
            )
        if asked in self._links and asked != COLONIES:
            return self._links[asked]
        if colony and (asked or not self._takes(spec)):
            return self.colonies()
        return self.get(asked) if asked else self.choose(list(spec.executor_names), spec.executor_type)

    def _takes(self, spec: RunSpec) -> bool:
        """Somebody here is meant; where the spec names nobody that is the default."""
        if spec.executor_names:
            return any(name in self._links for name in spec.executor_names)
        # Only executors of a colony say where they are.
        return not spec.location and spec.executor_type in (
            "",
            *(link.place.kind for link in self._links.values()),
        )

    def choose(self, names: list[str], kind: str) -> ExecutorLink:
        """The first known executor of ``names``, else one of ``kind``, else the default.

        Raises:
            InvalidInput: names or a kind are given and none is known.
        """
        for name in names:
            if name in self._links:
                return self._links[name]
        if names:
            return self.get(names[0])
        for link in self._links.values():
            if kind in ("", link.place.kind):
                return link
        raise InvalidInput(
            f"there is no executor of kind {kind!r}",
            reason="executor_missing",
            hint=f"known are: {', '.join(self.names())}",
        )

    def add(self, name: str, address: str, kind: str, settings: Mapping[str, str]) -> ExecutorLink:
        """Remember an executor; it is not reached for that.

        Raises:
            InvalidInput: something cannot be meant.
            AlreadyExists: there is one of this name.
        """
        places.check_executor_name(name)
        if name in self._links:
            raise AlreadyExists(
                f"there is an executor {name} already",
                reason="executor_exists",
                hint=f"pollinator executors remove {name}",
            )
        if name == COLONIES:
            raise AlreadyExists(f"executor {name} is of this machine", reason="executor_exists")
        place = Place(name, kind, address, dict(settings), secrets.token_hex(4))
        link = self._link(place, self._ways.to(place))
        self._links[name] = link
        self._save()
        self._came.set()
        return link

    async def configure(self, name: str, settings: Mapping[str, str], unset: Sequence[str]) -> ExecutorLink:
        """Change settings of an executor, whose runs go on; it is not reached for that.

        Raises:
            InvalidInput: there is none, something cannot be meant, or somebody else gives it its settings.
        """
        link = self._added(name)
        before = link.place.settings
        if missing := [each for each in unset if each not in before]:
            raise InvalidInput(
                f"executor {name} has no setting {missing[0]}",
                reason="bad_setting",
                hint=f"it has: {', '.join(before) or 'none'}",
            )
        check_change(link.place, [*settings, *unset])
        kept = {each: text for each, text in before.items() if each not in unset}
        place = replace(link.place, settings={**kept, **settings})
        self._ways.to(place)
        await link.configure(place)
        self._save()
        return link

    async def remove(self, name: str, *, busy: bool) -> str:
        """Forget an executor; what could not be taken away at its end is said.

        Args:
            name: its name.
            busy: runs of it go on.

        Raises:
            InvalidInput: there is none, or it is the one of this machine.
        """
        link = self._added(name)
        del self._links[name]
        self._save()
        left = await link.remove(busy=busy)
        await link.close()
        return left

    def _added(self, name: str) -> ExecutorLink:
        link = self.get(name)
        if link.place.name in _OF_THIS_MACHINE:
            raise InvalidInput(f"executor {link.place.name} belongs to this machine", reason="bad_name")
        return link

    async def look_after(self) -> NoReturn:
        """Keep connections that are far away open, so that no run has to wait for one."""
        looked_after = set[ExecutorLink]()
        first_s = 0.0
        async with asyncio.TaskGroup() as group:
            while True:
                far = {link for link in self._links.values() if not link.near}
                for link in far - looked_after:
                    # Each by itself: one that is dead holds up nobody else.
                    group.create_task(self._keep(link, first_s), name=f"connect {link.place.name}")
                looked_after = far
                # Who adds one connects to it, and is told the steps of that.
                first_s = LOOK_S
                self._came.clear()
                await self._came.wait()

    async def _keep(self, link: ExecutorLink, first_s: float) -> None:
        await asyncio.sleep(first_s)
        while self._links.get(link.place.name) is link:
            await _kept(link)
            await asyncio.sleep(LOOK_S if link.trouble is None else TROUBLED_S)

    async def close(self) -> None:
        """Drop all connections."""
        for link in self._links.values():
            await link.close()

    def _here(self, kind: str) -> ExecutorLink:
        socket = places.runtime_dir() / f"executor-{kind}.sock"
        place = Place(kind, kind, f"unix:{socket}", {}, "")
        return self._link(place, LocalProcess(place, socket, self._state / kind))

    def _link(self, place: Place, transport: Transport) -> ExecutorLink:
        return ExecutorLink(place, transport, self._save)

    def _save(self) -> None:
        added = [link.place for name, link in self._links.items() if name not in _OF_THIS_MACHINE]
        self._book.write([*added, *self._unusable])
