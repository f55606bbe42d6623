"""What a colony could not be told of a run that has ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import grpc
import pytest

from pollinator.executors.colonies import telling
from pollinator.executors.colonies.client import Client
from pollinator.executors.colonies.ends import Piece
from pollinator.executors.colonies.errands import Errand
from pollinator.executors.colonies.standing import Holding
from pollinator.executors.colonies.telling import WORDS, Telling
from pollinator.v1.colony_pb2 import Colony
from pollinator.v1.run_pb2 import OutputBlock, WatchRunRequest, WatchRunResponse


class Run:
    """A run that has printed this by rank."""

    def __init__(self, *printed: bytes) -> None:
        self._printed = printed

    def WatchRun(self, request: WatchRunRequest) -> Messages:  # noqa: N802 - the protocol's name
        offsets = {each.rank: each.offset for each in request.offsets}
        found = [
            WatchRunResponse(output=OutputBlock(rank=rank, offset=offset + at, data=text[offset + at :][:2]))
            for rank, text in enumerate(self._printed)
            for offset in [offsets.get(rank, 0)]
            for at in range(0, len(text) - offset, 2)
        ]
        return Messages(found)


class Messages:
    """A stream of them."""

    def __init__(self, messages: Sequence[WatchRunResponse]) -> None:
        self._messages = list(messages)

    async def read(self) -> object:
        return self._messages.pop(0) if self._messages else grpc.aio.EOF

    def cancel(self) -> None:
        self._messages.clear()


def telling_of(run: Run, offsets: dict[int, int]) -> Telling:
    client = Client(Colony(host="127.0.0.1", port=1, private_key="1" * 64))
    errand = Errand("ab", {}, offsets=offsets)
    return Telling(client, cast("Any", run), errand, lambda: None, Holding(client, "ab", lambda: 1.0))


async def test_what_is_in_no_log_yet_is_left_with_its_place() -> None:
    found = await telling_of(Run(b"all", b"known and more", b"new"), {0: 3, 1: 5, WORDS: 1}).rest()

    assert ({1: Piece(5, b" and more"), 2: Piece(0, b"new")}, 0) == found


async def test_what_is_too_much_to_be_left_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telling, "MOST_REST_BYTES", 5)

    found = await telling_of(Run(b"known and more", b"new"), {0: 6}).rest()

    assert ({0: Piece(6, b"and m"), 1: Piece(0, b"")}, 6) == found
