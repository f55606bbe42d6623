"""What the server's own words mean; each was seen of one of version 1.9.12."""

from __future__ import annotations

import pytest

from pollinator.executors.colonies.refusals import Unanswered, refused
from pollinator.wire.errors import (
    AlreadyExists,
    Denied,
    InvalidInput,
    NotFound,
    PollinatorError,
    TimedOut,
    WrongState,
)

SEEN: list[tuple[int, str, type[PollinatorError], str]] = [
    (404, "Failed to get process, process not found", NotFound, "colony_missing"),
    (500, "Failed to cancel process, process is nil", NotFound, "colony_missing"),
    (500, "Failed to get logs, process does not exist", NotFound, "colony_missing"),
    (500, "Snapshot not found with Id <x> in Colony <dev> does not exists", NotFound, "colony_missing"),
    (400, "Failed to get file", NotFound, "colony_missing"),
    (500, "Failed to approve executor, executor is nil", NotFound, "colony_missing"),
    (403, "Invalid process with Id x", NotFound, "colony_missing"),
    (403, "Failed to subscribe to process, process not found", NotFound, "colony_missing"),
    (404, "No process available for assignment", NotFound, "colony_missing"),
    (403, "Access denied, not member of colony", Denied, "colony_denied"),
    (403, "Colony with name <other> does not exists", Denied, "colony_denied"),
    (500, "Failed to assign process, executor not found", Denied, "colony_denied"),
    (403, "invalid rpcMsg.PayloadType: cancelprocessmsg", WrongState, "colony_too_old"),
    (400, "Executor with name <a> in Colony <dev> already exists", AlreadyExists, "colony_exists"),
    (400, "pq: duplicate key value violates unique constraint", AlreadyExists, "colony_exists"),
    (400, 'pq: invalid byte sequence for encoding "UTF8": 0x00', InvalidInput, "colony_refused"),
    (408, "Assignment timeout: colony assignments are paused", TimedOut, "colony_silent"),
    (503, "No processes available: colony assignments are paused", Unanswered, "colony_failed"),
    (500, "Failed to add executor, addedExecutor is nil", Unanswered, "colony_failed"),
    (403, "pq: terminating connection due to administrator command", Unanswered, "colony_failed"),
    (400, "dial tcp 127.0.0.1:5432: connect: connection refused", Unanswered, "colony_failed"),
    (500, "driver: bad connection", Unanswered, "colony_failed"),
    (400, "sql: database is closed", Unanswered, "colony_failed"),
    (400, "error converting memory to int", InvalidInput, "colony_refused"),
]


@pytest.mark.parametrize(("status", "message", "kind", "reason"), SEEN)
def test_a_refusal_is_what_its_words_say(
    status: int, message: str, kind: type[PollinatorError], reason: str
) -> None:
    error = refused("somemsg", status, {"status": status, "message": message}, "me")

    assert (kind, reason) == (type(error), error.reason)
    assert message in error.message or "somemsg" in error.message


def test_who_is_refused_reads_who_the_key_makes_them() -> None:
    error = refused("somemsg", 403, {"status": 403, "message": "Access denied"}, "1d2e")

    assert "1d2e" in error.hint
    assert "COLONIES_PRVKEY" in error.hint


@pytest.mark.parametrize("failure", [None, [], {}, "no", {"status": "x", "message": None}])
def test_a_refusal_that_says_nothing_is_one_all_the_same(failure: object) -> None:
    assert isinstance(refused("somemsg", 400, failure, "me"), InvalidInput)
    assert isinstance(refused("somemsg", 403, failure, "me"), Denied)


def test_over_a_websocket_the_status_is_in_the_answer() -> None:
    assert isinstance(refused("somemsg", 0, {"status": 403, "message": "no"}, "me"), Denied)
