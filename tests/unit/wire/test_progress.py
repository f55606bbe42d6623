"""How far a transfer is, from the thread that does it to whoever follows."""

from __future__ import annotations

import asyncio

import pytest

from pollinator.v1.run_pb2 import Progress, ProgressKind
from pollinator.wire import progress as under_test
from pollinator.wire.progress import Teller

FETCH = ProgressKind.PROGRESS_KIND_FETCH


async def test_parts_are_added_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "TELL_S", 0.0)
    told: list[Progress] = []
    teller = Teller(told.append, FETCH)

    def work() -> None:
        teller.begin(300)
        teller(50)
        teller.finished(100)
        teller(120)

    await asyncio.to_thread(work)
    await asyncio.sleep(0)

    assert [(50, 300, FETCH), (220, 300, FETCH)] == [
        (each.bytes_done, each.bytes_total, each.kind) for each in told
    ]
    await asyncio.to_thread(teller.begin, 300)
    await asyncio.to_thread(teller, 10)
    await asyncio.sleep(0)

    assert 10 == told[-1].bytes_done


async def test_of_many_words_few_are_passed_on() -> None:
    told: list[Progress] = []
    teller = Teller(told.append, FETCH)
    for done in range(10_000):
        teller(done)
    await asyncio.sleep(0)

    assert len(told) < 5
