"""How long work and words take through a Colonies server, by our client.

Beside the same messages as bare requests, written and signed before, over connections that are kept: what the
server and its database take, whoever asks.
"""

from __future__ import annotations

import asyncio
import base64
import http.client
import itertools
import json
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from bench import colony
from bench.bed import Bed
from bench.harness import Measured, Row, ratio
from pollinator.executors.colonies.client import Client
from support.colonies.asking import DEADLINE_S, Member, envelope
from support.colonies.sites import Site
from support.colonies.staging import Stage

READY_S = 0.03
"""So long after it was sent a question is certainly before the server."""
POLL_S = 20

TAKEN, TAKEN_BARE = "submitted until taken", "the same, bare requests"
READ, READ_BARE = "row of a log until read", "the same row, bare requests"
NOTHING, NOTHING_BARE = "a call that does nothing", "the same call, bare request"


class Bare:
    """A connection that is kept, over which go messages that were signed before."""

    def __init__(self, site: Site) -> None:
        self._connection = http.client.HTTPConnection(site.line.host, site.line.port, timeout=DEADLINE_S)

    def ask(self, body: str) -> bytes:
        """Send a message; the bytes of the answer."""
        self._connection.request("POST", "/api", body)
        return self._connection.getresponse().read()

    def close(self) -> None:
        """Close it."""
        self._connection.close()


def payload(answer: bytes) -> Any:
    """What an answer holds."""
    return json.loads(base64.b64decode(json.loads(answer)["payload"]))


class Line:
    """A user and an executor, each with our client and with a bare connection, and one process that runs."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.loop = asyncio.Runner()
        self.stage = Stage(site)
        self.member = site.user()
        self.user, self.executor = Bare(site), Bare(site)
        self.other = ThreadPoolExecutor(1)
        self.rows = itertools.count()
        self.last_ns = 0
        self.process_id = self.loop.run(self._running())

    def close(self) -> None:
        """End all of it."""
        self.end(self.process_id)
        self.loop.run(self._closed())
        self.loop.close()
        self.other.shutdown()
        for each in (self.user, self.executor):
            each.close()

    def end(self, process_id: str) -> None:
        """End a process that the executor has."""
        line = self.site.line
        line.ask(self.stage.worker, "closesuccessfulmsg", processid=process_id, out=[]).granted  # noqa: B018

    def signed(self, member: Member, kind: str, **fields: Any) -> str:
        """A message."""
        return envelope(member, kind, {"colonyname": self.site.name, **fields})

    async def _running(self) -> str:
        return (await self.stage.running()).id

    async def _closed(self) -> None:
        for client in (self.stage.user, self.stage.executor, self.stage.owner):
            await client.close()


@contextmanager
def line() -> Generator[Line]:
    """All of it, for the length of the block."""
    made = Line(colony.site())
    try:
        yield made
    finally:
        made.close()


def since(started_ns: int, ended_ns: int) -> Measured:
    """A round."""
    return Measured((ended_ns - started_ns) / 1e6)


# From the submission of a process to the answer of who waits for one


def taken(made: Line) -> Callable[[], Measured]:
    """By our client."""
    executor, user = made.stage.executor, made.stage.user

    async def take() -> tuple[str, int]:
        process = await executor.assign(POLL_S)
        ended_ns = time.perf_counter_ns()
        assert process is not None
        return process.id, ended_ns

    async def both() -> tuple[str, int, int]:
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(take())
            await asyncio.sleep(READY_S)
            started_ns = time.perf_counter_ns()
            await user.submit(made.stage.spec())
        return *waiting.result(), started_ns

    def measure() -> Measured:
        process_id, ended_ns, started_ns = made.loop.run(both())
        made.end(process_id)
        return since(started_ns, ended_ns)

    return measure


def taken_bare(made: Line) -> Callable[[], Measured]:
    """By bare requests."""
    wants = made.signed(made.stage.worker, "assignprocessmsg", timeout=POLL_S)
    submits = made.signed(made.member, "submitfuncspecmsg", spec=made.stage.spec())

    def take() -> tuple[bytes, int]:
        return made.executor.ask(wants), time.perf_counter_ns()

    def measure() -> Measured:
        waiting = made.other.submit(take)
        time.sleep(READY_S)
        started_ns = time.perf_counter_ns()
        made.user.ask(submits)
        answer, ended_ns = waiting.result()
        made.end(payload(answer)["processid"])
        return since(started_ns, ended_ns)

    return measure


# From a row that is added to a log to who reads it all the time


def read(made: Line) -> Callable[[], Measured]:
    """By our client."""
    executor, user = made.stage.executor, made.stage.user

    async def see() -> int:
        rows = await user.logs(made.process_id, made.last_ns)
        while not rows:
            rows = await user.logs(made.process_id, made.last_ns)
        ended_ns = time.perf_counter_ns()
        made.last_ns = rows[-1].time_ns
        return ended_ns

    async def both() -> Measured:
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(see())
            await asyncio.sleep(READY_S)
            started_ns = time.perf_counter_ns()
            await executor.add_log(made.process_id, f"row {next(made.rows)}\n")
        return since(started_ns, reading.result())

    return lambda: made.loop.run(both())


def read_bare(made: Line) -> Callable[[], Measured]:
    """By bare requests."""

    def see(asks: str) -> tuple[int, int]:
        while not (rows := payload(made.user.ask(asks))):
            pass
        return time.perf_counter_ns(), rows[-1]["timestamp"]

    def measure() -> Measured:
        named = {"processid": made.process_id, "executorname": "", "count": 500, "latest": False}
        asks = made.signed(made.member, "getlogsmsg", since=made.last_ns, **named)
        text = f"row {next(made.rows)}\n"
        adds = made.signed(made.stage.worker, "addlogmsg", processid=made.process_id, message=text)
        reading = made.other.submit(see, asks)
        time.sleep(READY_S)
        started_ns = time.perf_counter_ns()
        made.executor.ask(adds)
        ended_ns, made.last_ns = reading.result()
        return since(started_ns, ended_ns)

    return measure


# A call that does nothing


def asked(made: Line) -> Callable[[], Measured]:
    """By our client."""

    async def version() -> Measured:
        started_ns = time.perf_counter_ns()
        await made.stage.user.version()
        return since(started_ns, time.perf_counter_ns())

    return lambda: made.loop.run(version())


def asked_bare(made: Line) -> Callable[[], Measured]:
    """By a bare request."""
    body = made.signed(made.member, "versionmsg")

    def measure() -> Measured:
        started_ns = time.perf_counter_ns()
        made.user.ask(body)
        return since(started_ns, time.perf_counter_ns())

    return measure


def colony_line(bed: Bed) -> Row:
    """Work and words through a Colonies server."""
    with line() as made:
        contenders = {
            TAKEN: taken(made),
            TAKEN_BARE: taken_bare(made),
            READ: read(made),
            READ_BARE: read_bare(made),
            NOTHING: asked(made),
            NOTHING_BARE: asked_bare(made),
        }
        samples = bed.interleave(contenders, part=10)
        version = made.loop.run(_version(made.stage.user))
    work = (
        "through a Colonies server: a process until who waits for it has it, a row of a log until it is read"
    )
    return Row(
        "colony-line",
        work,
        samples,
        [ratio(samples, TAKEN, TAKEN_BARE, 1.5), ratio(samples, READ, READ_BARE, 1.5)],
        notes=[f"the server is version {version}", "each row is to be compared with the one below it"],
    )


async def _version(client: Client) -> str:
    return await client.version()
