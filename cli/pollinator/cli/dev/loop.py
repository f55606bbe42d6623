"""``pollinator dev``: a run at every save, one at a time, until the user has had enough.

What happens comes in as one queue: saves, keys, ends of runs. ``plan`` says what follows; the daemon does it.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pollinator.cli.connect import LONG_S, Daemon
from pollinator.cli.dev.keys import pressed_keys
from pollinator.cli.dev.plan import SPEC, SRC, Cause, Order, Plan, seen
from pollinator.cli.dev.rounds import Rounds
from pollinator.cli.dev.saves import Save, Saves
from pollinator.cli.dev.screen import CHOICES, HELP, Screen
from pollinator.cli.dev.starts import Starts
from pollinator.cli.exits import Exit
from pollinator.cli.follow import interrupts, tell_let_go
from pollinator.v1.executor_pb2 import Executor, ListExecutorsRequest
from pollinator.v1.project_pb2 import DiffRunsRequest
from pollinator.wire.errors import PollinatorError

DOUBT_S = 1.0
"""What is told so soon after a start may have been saved before it, and be part of that run."""


@dataclass(frozen=True, slots=True)
class Options:
    """How one loop behaves."""

    root: Path
    data: bool
    """Saves of ``data`` count as well."""
    keep: bool
    """A run that goes on is not ended by a save."""


class DevLoop:
    """Belongs to one command."""

    def __init__(self, daemon: Daemon, screen: Screen, starts: Starts, options: Options) -> None:
        self._daemon = daemon
        self._screen = screen
        self._starts = starts
        self._options = options
        self._plan = Plan(keep=options.keep)
        self._rounds = Rounds(daemon, screen, starts, self._plan)
        self._queue: asyncio.Queue[Callable[[], None]] = asyncio.Queue()
        self._choices: list[Executor] = []
        self._code: Exit | None = None
        self._group = asyncio.TaskGroup()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> int:
        """Run at every save until the user ends it; returns the exit code.

        Raises:
            PollinatorError: the project cannot be watched.
        """
        store = self._starts.store
        saves = Saves(self._daemon, self._options.root, store, self._later(self._saved), self._warn)
        try:
            async with self._group:
                self._start(saves.watch())
                await self._serve(saves)
                for task in tuple(self._tasks):
                    task.cancel()
        except BaseExceptionGroup as several:
            group_error: BaseExceptionGroup[BaseException] = several
            raise group_error.exceptions[0] from None
        assert self._code is not None
        return int(self._code)

    async def _serve(self, saves: Saves) -> None:
        with ExitStack() as stack:
            give_back = stack.enter_context(pressed_keys(self._later(self._pressed), sys.stdin))
            interrupted = stack.enter_context(interrupts(give_back))
            self._screen.keys = give_back is not None
            self._start(self._until(interrupted))
            self._screen.watching("cfs/src and cfs/data" if self._options.data else "cfs/src")
            self._start(self._first(saves))
            while self._code is None:
                happen = await self._queue.get()
                happen()
            # Whoever presses Ctrl-C once more ends this program at once.
            if give_back is not None:
                give_back()
            if self._code is Exit.CANCELLED:
                await self._rounds.cancel()
                self._code = Exit.OK
            elif (run := await self._rounds.at_work()) is not None:
                tell_let_go(self._screen.terminal, run.id)

    async def _first(self, saves: Saves) -> None:
        await saves.ready.wait()
        self._queue.put_nowait(lambda: self._want(Cause(word="as it is now")))

    async def _until(self, interrupted: asyncio.Event) -> None:
        await interrupted.wait()
        self._queue.put_nowait(lambda: self._quit(Exit.INTERRUPTED))

    def _later(self, act: Callable[[Any], None]) -> Callable[[Any], None]:
        """Do it when what came before has been dealt with."""
        return lambda what: self._queue.put_nowait(lambda: act(what))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._group.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _warn(self, text: str) -> None:
        self._screen.terminal.warn(text)

    def _quit(self, code: Exit) -> None:
        self._code = code

    # What follows

    def _do(self, order: Order) -> None:
        match order:
            case Order.BEGIN:
                self._start(self._round(self._plan.begin()))
            case Order.CANCEL:
                self._start(self._rounds.cancel())
            case Order.NOTHING:
                pass

    def _want(self, cause: Cause) -> None:
        self._do(self._plan.want(cause))

    async def _round(self, cause: Cause) -> None:
        await self._rounds.go(cause)
        self._queue.put_nowait(self._over)

    def _over(self) -> None:
        order = self._plan.over()
        if order is Order.NOTHING:
            self._screen.offer()
        self._do(order)

    # Saves

    def _saved(self, save: Save) -> None:
        paths = seen(save.paths, data=self._options.data)
        sure = save.complete and not self._rounds.started_within(DOUBT_S)
        if paths and sure:
            self._want(Cause(paths, len(paths)))
        elif paths or not save.complete:
            self._start(self._find_out(paths))

    async def _find_out(self, paths: tuple[bytes, ...]) -> None:
        """Whether the files are still those of the newest run: it may have had what was saved."""
        await self._rounds.settled.wait()
        newest = self._rounds.newest
        if newest is not None and newest.snapshot.key and not self._rounds.refused:
            request = DiffRunsRequest(base_run_id=newest.id, overrides=self._rounds.wishes)
            try:
                answer = await self._daemon.ask(self._daemon.projects.DiffRuns, request, timeout_s=LONG_S)
                found = [b"cfs/" + each.path for each in answer.files]
                found += [SPEC] if answer.settings else []
                paths = seen(found, data=self._options.data)
            except PollinatorError:
                # The start says it better.
                paths = paths or (SRC,)
        else:
            paths = paths or (SRC,)
        if paths:
            self._queue.put_nowait(lambda: self._want(Cause(paths, len(paths))))

    # Keys

    def _pressed(self, key: str) -> None:
        if self._choices:
            choices, self._choices = self._choices, []
            self._choose(choices, key)
            return
        match key:
            case "r":
                self._want(Cause(word="once more"))
            case "c":
                self._do(self._plan.cancel())
            case "d":
                self._start(self._rounds.show_changes())
            case "e":
                self._start(self._list_executors())
            case "q":
                self._quit(Exit.OK)
            case "Q":
                self._quit(Exit.CANCELLED)
            case "?" | "h":
                self._screen.offer(HELP)
            case _:
                pass

    async def _list_executors(self) -> None:
        try:
            answer = await self._daemon.ask(self._daemon.registry.ListExecutors, ListExecutorsRequest())
        except PollinatorError as error:
            self._screen.refused(error)
            return
        self._choices = list(answer.executors)[:CHOICES]
        self._screen.choices(answer.executors, self._executor())

    def _executor(self) -> str:
        """Where runs go; empty as long as there was none, and nobody has chosen."""
        newest = self._rounds.newest
        return self._starts.executor or (newest.executor if newest else "")

    def _choose(self, choices: list[Executor], key: str) -> None:
        chosen = choices[int(key) - 1].name if key.isdecimal() and 1 <= int(key) <= len(choices) else ""
        if chosen and chosen != self._executor():
            self._starts.executor = chosen
            self._screen.terminal.say(f"Runs go to {self._starts.executor} from now on.")
            self._want(Cause(word=f"now on {self._starts.executor}"))
        else:
            self._screen.terminal.say("Runs go where they went.")
