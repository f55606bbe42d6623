"""How long from a row of a log in a colony until it is on the screen of whoever follows the run.

Beside the original, which asks again half a second after there was nothing. The executor is played; it prints
at any moment, as programs do.
"""

from __future__ import annotations

import itertools
import random
import subprocess
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager

from bench import colony
from bench.bed import SEED, Bed
from bench.colony_run import Desk, Project, desk
from bench.harness import Bound, Measured, Row, figure, ratio
from support.sandbox import BIN

OURS, PEER = "pollinator run --follow", "the original's run --follow"
LEAST_S, MOST_S = 0.2, 1.2
"""A program is silent for so long."""
LOOK_S = 0.05


class Followed:
    """A run that somebody follows, and its executor."""

    def __init__(self, made: Desk, program: str, project: Project) -> None:
        self._made = made
        self._executor = project.executor
        project.edit()
        self._said = project.root.with_suffix(".log")
        taken = made.waits(project.executor, end=False)
        with self._said.open("wb") as said:
            self._child = subprocess.Popen(
                [program, "run", "--follow"],
                cwd=project.root,
                env=made.sandbox.env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=said,
                bufsize=0,
            )
        while not taken.done():
            if self._child.poll() is not None:
                raise self._failure()
            time.sleep(LOOK_S)
        self._process_id = taken.result().process_id

    def prints(self, text: str) -> float:
        """Have a line printed; how long until it is seen here, in ms."""
        assert self._child.stdout is not None
        started_ns = time.perf_counter_ns()
        self._ask("addlogmsg", message=f"{text}\n")
        # The original shows there how it sends files as well.
        while (line := self._child.stdout.readline()) != f"{text}\n".encode():
            if not line:
                raise self._failure()
        return (time.perf_counter_ns() - started_ns) / 1e6

    def close(self) -> None:
        """End it."""
        self._ask("closesuccessfulmsg", out=list[str]())
        with self._child:
            self._child.wait(60)

    def _failure(self) -> RuntimeError:
        return RuntimeError(f"it ended before the run did: {self._said.read_text()}")

    def _ask(self, kind: str, **fields: object) -> None:
        line = self._made.site.line
        line.ask(self._executor, kind, processid=self._process_id, **fields).granted  # noqa: B018


@contextmanager
def followed(made: Desk, program: str) -> Generator[Followed]:
    """One of them, for the length of the block."""
    run = Followed(made, program, made.project(made.public, files=1))
    try:
        yield run
    finally:
        run.close()


def rows_of(run: Followed, moments: random.Random) -> Callable[[], Measured]:
    """A row at any moment."""
    numbers = itertools.count()

    def measure() -> Measured:
        time.sleep(moments.uniform(LEAST_S, MOST_S))
        return Measured(run.prints(f"row {next(numbers)}"))

    return measure


def colony_follow(bed: Bed) -> Row:
    """A row of a log on its way to the screen."""
    program = colony.original()
    moments = random.Random(SEED)
    with desk(bed) as made, ExitStack() as stack:
        programs = {OURS: str(BIN / "pollinator")} | ({PEER: program} if program is not None else {})
        contenders = {
            name: rows_of(stack.enter_context(followed(made, each)), moments)
            for name, each in programs.items()
        }
        samples = bed.interleave(contenders, part=8)
    bounds: list[Bound] = [figure(samples, OURS, "wall_ms", 500, "at most 500 ms")]
    notes: list[str] = []
    if program is not None:
        bounds.append(ratio(samples, OURS, PEER, 1.0))
    else:
        notes.append(f"the original was not measured: {colony.ORIGINAL} names no program")
    return Row(
        "colony-follow",
        "a row of a log in a colony until who follows the run sees it",
        samples,
        bounds,
        notes,
    )
