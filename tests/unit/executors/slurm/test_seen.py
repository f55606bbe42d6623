"""What squeue and sacct print becomes what is known of a job, in the forms of several versions."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from pollinator.executors.slurm.seen import (
    BREAK,
    JobSeen,
    Step,
    account_rows,
    moment,
    named,
    queue_rows,
    start_of,
    status,
    with_accounts,
)

NOW = 1_764_000_000.0

QUEUE = """\
6|6|FAILED|NonZeroExitCode|n2|1792|0|2026-11-26T00:06:41|2026-11-26T00:06:42|
4|4|PENDING|Resources||0|0|2027-11-26T00:05:45|NONE|
5|5|PENDING|JobHeldUser||0|0|N/A|N/A|
1|1|RUNNING|None|n[1-3]|0|2|2026-11-26T00:05:45|2026-11-26T01:05:45|
14|14|PENDING|ReqNodeNotAvail, UnavailableNodes:n3||0|0|N/A|N/A|
3|3|CANCELLED|None|n2|15|0|2026-11-26T00:05:45|2026-11-26T00:06:50|
8|8|COMPLETING|None|n2|0|0|2026-11-26T00:05:45|2026-11-26T00:06:50|
13|13_[1-3%1]|PENDING|JobArrayTaskLimit||0|0|N/A|N/A|
17|13_0|RUNNING|None|n1|0|0|2026-11-26T00:17:19|2027-11-26T00:17:19|
22|21_4|RUNNING|None|n1|0|0|2026-11-26T00:17:19|2027-11-26T00:17:19|
"""

ACCOUNTS = """\
6|6|FAILED|7:0|2026-11-26T00:06:41|2026-11-26T00:06:42|n2
6.batch|6.batch|FAILED|7:0|2026-11-26T00:06:41|2026-11-26T00:06:42|n2
6.0|6.0|OUT_OF_MEMORY|0:125|2026-11-26T00:06:41|2026-11-26T00:06:42|n2
7|7|CANCELLED by 1000|0:15|2026-11-26T00:05:45|2026-11-26T00:06:50|n[1-2]
7.extern|7.extern|COMPLETED|0:0|2026-11-26T00:05:45|2026-11-26T00:06:50|n[1-2]
1|1|RUNNING|0:0|2026-11-26T00:05:45|Unknown|n1
9|9|PENDING|0:0|Unknown|Unknown|None assigned
10|10|FAILED|0:0|2026-11-26T00:38:52|Unknown|n1
31|30_1|COMPLETED|0:0|2026-11-26T00:05:45|2026-11-26T00:06:50|n1
41|40+1|COMPLETED|0:0|2026-11-26T00:05:45|2026-11-26T00:06:50|n1
"""


def at(clock: str) -> datetime:
    return datetime.fromisoformat(f"2026-11-26T{clock}").replace(tzinfo=UTC)


def queue(text: str = QUEUE) -> dict[str, JobSeen]:
    return queue_rows(text.replace("|", BREAK), NOW)


def test_a_running_job_has_nodes_times_and_restarts() -> None:
    expected = JobSeen(
        "1",
        NOW,
        state="RUNNING",
        nodes=("n1", "n2", "n3"),
        restarts=2,
        started=at("00:05:45"),
        ends=at("01:05:45"),
    )

    assert expected == queue()["1"]


def test_a_waiting_job_has_its_reason_and_an_estimate() -> None:
    seen = queue()["4"]

    assert ("PENDING", "Resources", at("00:05:45").replace(year=2027)) == (
        seen.state,
        seen.reason,
        seen.estimate,
    )
    assert (None, None) == (seen.started, seen.ends)
    assert queue()["5"].estimate is None


def test_what_slurm_adds_to_a_reason_is_kept_apart() -> None:
    seen = queue()["14"]

    assert ("ReqNodeNotAvail", "UnavailableNodes:n3") == (seen.reason, seen.detail)


def test_an_exit_code_is_read_from_the_raw_status() -> None:
    assert (7, 0) == (queue()["6"].exit_code, queue()["6"].signal)
    assert (0, 15) == (queue()["3"].exit_code, queue()["3"].signal)


@pytest.mark.parametrize(
    ("code", "expected"),
    [("0", (0, 0)), ("10752", (42, 0)), ("15", (0, 15)), ("3:0", (3, 0)), ("0:125", (0, 125)), ("", (0, 0))],
)
def test_exit_codes_are_read_in_both_forms(code: str, expected: tuple[int, int]) -> None:
    assert expected == status(code)


def test_a_flag_is_no_base_state() -> None:
    assert ("", ("COMPLETING",)) == (queue()["8"].state, queue()["8"].flags)


def test_tasks_of_an_array_answer_for_it_by_the_row_of_its_own() -> None:
    assert "PENDING" == queue()["13"].state
    assert "RUNNING" == queue()["17"].state
    assert ("21", "RUNNING") == (queue()["21"].job_id, queue()["21"].state)


def test_a_row_that_is_cut_off_is_left_out() -> None:
    assert {} == queue("6|6|FAILED|NonZe")


def test_accounts_have_steps_with_their_own_ends() -> None:
    seen = account_rows(ACCOUNTS, NOW)["6"]

    assert (Step("batch", "FAILED", 7, 0), Step("0", "OUT_OF_MEMORY", 0, 125)) == seen.steps
    assert ("FAILED", 7, True) == (seen.state, seen.exit_code, seen.accounted)


def test_accounts_say_who_cancelled() -> None:
    seen = account_rows(ACCOUNTS, NOW)["7"]

    assert ("CANCELLED", "1000", 15, ("n1", "n2")) == (
        seen.state,
        seen.cancelled_by,
        seen.signal,
        seen.nodes,
    )


def test_accounts_of_a_job_that_goes_on_say_so() -> None:
    accounts = account_rows(ACCOUNTS, NOW)

    assert (False, False) == (accounts["1"].accounted, accounts["9"].accounted)
    assert () == accounts["9"].nodes


def test_an_end_that_is_half_booked_is_none_yet() -> None:
    assert ("FAILED", False) == (
        account_rows(ACCOUNTS, NOW)["10"].state,
        account_rows(ACCOUNTS, NOW)["10"].accounted,
    )


def test_parts_of_an_array_or_of_a_heterogeneous_job_have_ids_of_their_own() -> None:
    assert {"31", "41"} <= account_rows(ACCOUNTS, NOW).keys()


def test_accounts_do_not_take_away_what_was_seen_in_the_queue() -> None:
    seen = with_accounts(queue()["1"], account_rows(ACCOUNTS, NOW)["6"])

    assert ("FAILED", 2, ("n2",)) == (seen.state, seen.restarts, seen.nodes)
    assert with_accounts(None, seen) is seen


def test_jobs_are_found_by_name_or_comment_and_by_all_of_it() -> None:
    text = "1|pollinator:run1|(null)|\n2|other|pollinator:run1|\n3|pollinator:run10|x|\n"

    assert ["1", "2"] == named(text.replace("|", BREAK), ["pollinator:run1"], BREAK)
    assert ["4"] == named(
        "4|pollinator:run1|\n4.batch|batch|\n5|wrap|\n", ["pollinator:run1", "pollinator-run1"], "|"
    )


def test_a_start_is_read_for_the_job_that_was_asked_for() -> None:
    text = f"4{BREAK}2026-11-26T00:05:45\n5{BREAK}N/A\n"

    assert at("00:05:45") == start_of(text, "4")
    assert start_of(text, "5") is None
    assert start_of(text, "6") is None


@pytest.mark.parametrize("text", ["N/A", "NONE", "Unknown", "(null)", ""])
def test_no_time_is_none(text: str) -> None:
    assert moment(text) is None
