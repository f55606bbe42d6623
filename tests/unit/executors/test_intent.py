"""The wish to hand a run over is on disk before that is done, and as long as the backend may have the run."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from pollinator.executors import intent as under_test
from pollinator.executors.intent import INTENT, Intent


def at(monkeypatch: pytest.MonkeyPatch, now: float) -> None:
    """It is so late."""
    monkeypatch.setattr(time, "time", lambda: now)


def test_a_new_run_was_not_handed_over(tmp_path: Path) -> None:
    assert 0.0 == Intent(tmp_path).since


def test_what_was_noted_is_known_in_the_next_life(tmp_path: Path) -> None:
    first = Intent(tmp_path)
    first.note()

    assert 0.0 < first.since == Intent(tmp_path).since


def test_noting_it_again_leaves_the_time(tmp_path: Path) -> None:
    intent = Intent(tmp_path)
    intent.note()
    before = intent.since
    intent.note()

    assert before == intent.since == json.loads((tmp_path / INTENT).read_text())["time"]


def test_one_that_could_not_be_written_is_none(tmp_path: Path) -> None:
    intent = Intent(tmp_path)
    (tmp_path / "submit.new").mkdir()
    with pytest.raises(OSError, match="directory"):
        intent.note()
    before = intent.since
    (tmp_path / "submit.new").rmdir()
    intent.note()

    assert not before
    assert intent.since == Intent(tmp_path).since > 0.0


def test_what_is_retracted_is_gone(tmp_path: Path) -> None:
    intent = Intent(tmp_path)
    intent.note()
    intent.retract()
    intent.retract()

    assert 0.0 == intent.since == Intent(tmp_path).since


def test_one_of_an_earlier_time_says_nothing(tmp_path: Path) -> None:
    intent = Intent(tmp_path)
    intent.note()
    intent.renew(1)

    assert 0.0 == intent.since == Intent(tmp_path, 1).since
    intent.note()

    assert intent.since == Intent(tmp_path, 1).since > 0.0
    assert 0.0 == Intent(tmp_path, 2).since


def test_one_of_an_earlier_version_is_that_of_the_first_time(tmp_path: Path) -> None:
    (tmp_path / INTENT).write_text('{"time": 5.0}')

    assert (5.0, 0.0) == (Intent(tmp_path).since, Intent(tmp_path, 1).since)


def test_a_run_may_still_appear_for_a_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    intent = Intent(tmp_path)
    intent.note()
    now = intent.since
    seen: list[bool] = []
    for later_s in (0.0, under_test.SOON_S - 0.1, under_test.SOON_S + 0.1):
        at(monkeypatch, now + later_s)
        seen.append(intent.may_appear)

    assert [True, True, False] == seen


def test_and_longer_when_the_answer_was_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    intent = Intent(tmp_path)
    intent.note()
    intent.doubt()
    now = intent.since
    seen: list[bool] = []
    for later_s in (under_test.SOON_S + 0.1, under_test.UNKNOWN_S - 0.1, under_test.UNKNOWN_S + 1.0):
        at(monkeypatch, now + later_s)
        seen.append(intent.may_appear)

    assert [True, True, False] == seen
