"""Each state and flag of Slurm has one meaning, and what is not known is said to be so."""

from __future__ import annotations

import pytest

from pollinator.executors.slurm import states
from pollinator.executors.slurm.states import Word, meaning, read
from pollinator.v1.run_pb2 import OutcomeReason, RunState

STATES = {
    "PENDING": ("QUEUED", ""),
    "REQUEUED": ("QUEUED", ""),
    "REQUEUE_HOLD": ("QUEUED", ""),
    "REQUEUE_FED": ("QUEUED", ""),
    "SPECIAL_EXIT": ("QUEUED", ""),
    "RESV_DEL_HOLD": ("QUEUED", ""),
    "CONFIGURING": ("STARTING", ""),
    "POWER_UP_NODE": ("STARTING", ""),
    "RUNNING": ("RUNNING", ""),
    "SUSPENDED": ("RUNNING", ""),
    "STOPPED": ("RUNNING", ""),
    "SIGNALING": ("RUNNING", ""),
    "RESIZING": ("RUNNING", ""),
    "COMPLETING": ("COLLECTING", ""),
    "STAGE_OUT": ("COLLECTING", ""),
    "COMPLETED": ("COLLECTING", ""),
    "FAILED": ("COLLECTING", ""),
    "TIMEOUT": ("FAILED", "TIME_LIMIT"),
    "DEADLINE": ("FAILED", "TIME_LIMIT"),
    "OUT_OF_MEMORY": ("FAILED", "OUT_OF_MEMORY"),
    "NODE_FAIL": ("FAILED", "NODE_FAILED"),
    "BOOT_FAIL": ("FAILED", "NODE_FAILED"),
    "LAUNCH_FAILED": ("FAILED", "NODE_FAILED"),
    "RECONFIG_FAIL": ("FAILED", "NODE_FAILED"),
    "PREEMPTED": ("FAILED", "PREEMPTED"),
    "CANCELLED": ("CANCELLED", ""),
    "REVOKED": ("LOST", ""),
}
"""All that the documentation of Slurm 20.11 to 25.05 names, save what changes nothing for a run."""

ENDED = {
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "DEADLINE",
    "FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "REVOKED",
    "TIMEOUT",
}
"""The others may still run, or run again, by themselves."""


@pytest.mark.parametrize(("word", "state", "reason"), [(word, *each) for word, each in STATES.items()])
def test_a_state_has_its_meaning(word: str, state: str, reason: str) -> None:
    seen = read(word)

    found = meaning(seen.base, seen.flags)

    assert RunState.Value(f"RUN_STATE_{state}") == found.state
    assert OutcomeReason.Value(f"OUTCOME_REASON_{reason or 'UNSPECIFIED'}") == found.reason
    assert (word in ENDED) == found.ended


def test_no_state_is_in_the_tables_without_being_tested() -> None:
    assert set(STATES) == states.BASE.keys() | states.FLAGS.keys()


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("RUNNING", Word("RUNNING")),
        ("COMPLETING", Word("", ("COMPLETING",))),
        ("CANCELLED by 1000", Word("CANCELLED", (), "1000")),
        ("CANCELLED by 0", Word("CANCELLED", (), "0")),
        ("PENDING,REQUEUED", Word("PENDING", ("REQUEUED",))),
        ("RUNNING+SIGNALING", Word("RUNNING", ("SIGNALING",))),
        ("", Word()),
    ],
)
def test_words_are_read_as_slurm_prints_them(text: str, word: Word) -> None:
    assert word == read(text)


def test_a_flag_says_more_than_the_base_state() -> None:
    assert RunState.RUN_STATE_QUEUED == meaning("FAILED", ("REQUEUED",)).state
    assert RunState.RUN_STATE_STARTING == meaning("RUNNING", ("CONFIGURING",)).state


@pytest.mark.parametrize("flag", sorted(states.IGNORED))
def test_a_flag_that_changes_nothing_leaves_the_base_state(flag: str) -> None:
    assert RunState.RUN_STATE_RUNNING == meaning("RUNNING", (flag,)).state


@pytest.mark.parametrize("text", ["OUT_OF_ME+", "TELEPORTING", "RUNNING,TELEPORTING", ""])
def test_a_word_that_is_not_known_is_reported_and_not_guessed(text: str) -> None:
    seen = read(text)

    found = meaning(seen.base, seen.flags)

    assert RunState.RUN_STATE_UNSPECIFIED == found.state
    assert not found.ended
    assert "not known here" in found.detail
