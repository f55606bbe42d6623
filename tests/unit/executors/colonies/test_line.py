"""What is kept of a colony for a moment, for all runs that go there."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from pollinator.executors.colonies.ledger import Ledger
from pollinator.executors.colonies.line import Line
from support.scripted_colonies import Scripted, said, serving


@pytest.fixture
async def server() -> AsyncIterator[Scripted]:
    async with serving(said([])) as one:
        yield one


@pytest.fixture
async def line(server: Scripted, tmp_path: Path) -> AsyncIterator[Line]:
    with closing(Ledger(tmp_path / "colonies.db")) as ledger, ThreadPoolExecutor(1) as threads:
        one = Line(server.colony(), ledger, threads)
        yield one
        await one.close()


async def test_what_was_heard_a_moment_ago_is_not_asked_again(line: Line, server: Scripted) -> None:
    await line.waiting()
    await line.waiting()

    assert 1 == len(server.asked)


async def test_unless_it_has_to_be_newer(line: Line, server: Scripted) -> None:
    await line.waiting()
    now = time.monotonic()
    await line.waiting(now)
    await line.waiting(now)

    assert 2 == len(server.asked)
