"""Who gave a call an id can watch how far it is."""

from __future__ import annotations

import asyncio

import pytest

from pollinator.daemon.service import transfers as under_test
from pollinator.daemon.service.transfers import Transfers
from pollinator.v1.run_pb2 import ProgressKind
from pollinator.wire import progress

FETCH = ProgressKind.PROGRESS_KIND_FETCH


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every word is passed on."""
    monkeypatch.setattr(progress, "TELL_S", 0.0)
    monkeypatch.setattr(under_test, "TELL_S", 0.0)


async def test_a_call_is_watched_from_its_begin_to_its_end() -> None:
    transfers = Transfers()
    with transfers.under("mine", FETCH) as teller:
        watching = transfers.watch("mine")
        teller.begin(10)

        assert (0, FETCH) == ((first := await anext(watching)).bytes_done, first.kind)
        teller(4)
        async with asyncio.timeout(20):
            second = await anext(watching)

        assert (4, 10, FETCH) == (second.bytes_done, second.bytes_total, second.kind)

    assert [] == [each async for each in watching]


async def test_a_call_that_nobody_named_cannot_be_watched() -> None:
    transfers = Transfers()
    with transfers.under("", FETCH) as teller:
        teller(1)
        await asyncio.sleep(0)

        assert [] == [each async for each in transfers.watch("")]
        assert [] == [each async for each in transfers.watch("other")]
