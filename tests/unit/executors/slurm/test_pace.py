"""A cluster is asked often only while that brings something."""

from __future__ import annotations

import pytest

from pollinator.executors.slurm.pace import Pace, Rhythm, pace_of
from pollinator.wire.errors import InvalidInput

PACE = Pace(quick_s=1, slow_s=30, down_s=60, growth=1.5, share=0.1, jitter=0.2)


def test_a_quiet_cluster_is_asked_less_and_less() -> None:
    rhythm = Rhythm(PACE)

    intervals = [rhythm.next() for _ in range(12)]

    assert [1.5, 2.25] == intervals[:2]
    assert 30 == intervals[-1]
    assert 1 == rhythm.next(changed=True)


def test_a_cluster_that_is_down_is_asked_less_and_less() -> None:
    rhythm = Rhythm(PACE)

    assert [2, 4, 8, 16, 32, 60, 60] == [rhythm.next(changed=True, down=True) for _ in range(7)]


@pytest.mark.parametrize(("soon", "expected"), [([40.0, 5.0], 5.0), ([0.0], 1.0), ([400.0], 30.0)])
def test_what_may_happen_soon_is_not_waited_past(soon: list[float], expected: float) -> None:
    rhythm = Rhythm(PACE)
    for _ in range(12):
        rhythm.next()

    assert expected == rhythm.next(soon=soon)


def test_who_hurries_begins_with_the_quickest() -> None:
    rhythm = Rhythm(PACE)
    for _ in range(12):
        rhythm.next()
    rhythm.hurry()

    assert 1.5 == rhythm.next()


def test_a_slow_cluster_has_time_for_others() -> None:
    assert (1, 20) == (Rhythm(PACE).least(0.01), Rhythm(PACE).least(2))


def test_nobody_asks_exactly_on_time() -> None:
    times = {Rhythm(PACE).about(10) for _ in range(50)}

    assert len(times) > 1
    assert all(10 <= each <= 12 for each in times)


@pytest.mark.parametrize(
    ("setting", "expected"),
    [("", (1, 30, 15)), ("5-60", (5, 60, 15)), ("7", (7, 30, 15)), ("90", (90, 90, 90))],
)
def test_a_site_may_wish_for_another_pace(setting: str, expected: tuple[float, float, float]) -> None:
    pace = pace_of(setting)

    assert expected == (pace.quick_s, pace.slow_s, pace.down_s)


@pytest.mark.parametrize("setting", ["0", "5-4", "x", "-5", "5-", "0.1-3", "5s"])
def test_a_pace_that_cannot_be_meant_is_refused(setting: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        pace_of(setting)

    assert ["slurm.poll"] == [each.where for each in refused.value.violations]
