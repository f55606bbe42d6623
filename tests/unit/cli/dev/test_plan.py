"""What follows when something was saved, a key was pressed, or a run has ended."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pollinator.cli.dev.plan import Cause, Order, Plan, joined, seen

ONE = Cause((b"cfs/src/a",), 1)
TWO = Cause((b"cfs/src/b",), 1)


def test_a_save_begins_a_run() -> None:
    plan = Plan(keep=False)

    assert Order.BEGIN == plan.want(ONE)
    assert ONE == plan.begin()
    assert Order.NOTHING == plan.over()


def test_a_save_ends_the_run_before_it_once_and_the_newest_files_follow() -> None:
    plan = Plan(keep=False)
    plan.want(ONE)
    plan.begin()

    assert [Order.CANCEL, Order.NOTHING] == [plan.want(ONE), plan.want(TWO)]
    assert plan.superseded
    assert Order.BEGIN == plan.over()
    assert joined(ONE, TWO) == plan.begin()
    assert not plan.ending


def test_a_run_that_is_kept_ends_by_itself() -> None:
    plan = Plan(keep=True)
    plan.want(ONE)
    plan.begin()

    assert Order.NOTHING == plan.want(TWO)
    assert not plan.superseded
    assert Order.BEGIN == plan.over()
    assert TWO == plan.begin()


def test_after_a_cancel_nothing_follows() -> None:
    plan = Plan(keep=False)
    plan.want(ONE)
    plan.begin()
    plan.want(TWO)

    assert [Order.NOTHING, Order.NOTHING] == [plan.cancel(), plan.over()]
    assert Order.NOTHING == plan.cancel()


@given(st.lists(st.sampled_from(["save", "cancel", "over"])), st.booleans())
def test_whatever_happens_one_run_goes_on_at_most_and_the_last_save_is_run(
    steps: list[str], keep: bool
) -> None:
    plan, going, cancelled, saved, ran = Plan(keep=keep), False, False, 0, 0
    for step in [*steps, "save", "over", "over"]:
        order = Order.NOTHING
        match step:
            case "save":
                saved += 1
                order = plan.want(Cause((b"cfs/src/%d" % saved,), 1))
            case "cancel":
                order = plan.cancel()
            case _ if going:
                going = cancelled = False
                order = plan.over()
            case _:
                pass
        if order is Order.BEGIN:
            assert not going
            plan.begin()
            going, ran = True, saved
        elif order is Order.CANCEL:
            assert going
            assert not cancelled
            cancelled = True

    assert saved == ran


@pytest.mark.parametrize(
    ("cause", "text"),
    [
        (Cause(word="once more"), "once more"),
        (ONE, "cfs/src/a"),
        (joined(ONE, TWO), "cfs/src/a and cfs/src/b"),
        (Cause((b"a", b"b", b"c", b"d"), 9), "a, b, c and 6 more"),
        (Cause((), 1), "1 path"),
        (Cause((b"a\x1b[2J\xff",), 1), r"'a\x1b[2J\udcff'"),
        (Cause(("ä".encode(),), 1), "ä"),
    ],
)
def test_why_a_run_begins_fits_on_a_line(cause: Cause, text: str) -> None:
    assert text == str(cause)


@pytest.mark.parametrize("data", [False, True])
def test_of_data_only_who_asks_hears(data: bool) -> None:
    paths = (b"cfs/data/x", b"cfs/src", b"cfs/src/a", b"cfs/srcs", b"project.yaml")
    wanted = paths[0 if data else 1 : 3] + paths[4:]

    assert wanted == seen(paths, data=data)
