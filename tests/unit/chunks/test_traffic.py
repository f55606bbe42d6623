"""How much of the line may be used."""

from __future__ import annotations

import pytest

from pollinator.chunks.traffic import LARGEST_BLOCK, SMALLEST_BLOCK, Limit, Traffic
from support.syncing import Clock


def test_bytes_go_as_fast_as_they_may() -> None:
    clock = Clock()
    limit = Limit(1000, clock.monotonic)
    for _ in range(10):
        clock.pass_ms(limit.take(500) * 1000)

    assert 5.0 == pytest.approx(clock.monotonic())


def test_those_who_share_a_limit_wait_for_each_other() -> None:
    limit = Limit(1000, Clock().monotonic)

    assert [0.5, 1.0, 1.5] == pytest.approx([limit.take(500) for _ in range(3)])


def test_what_was_not_used_is_not_saved_up() -> None:
    clock = Clock()
    limit = Limit(1000, clock.monotonic)
    clock.pass_ms(3_600_000)

    assert 0.0 == limit.take(100)
    assert 1.0 == pytest.approx(limit.take(1000))


@pytest.mark.parametrize(
    ("bytes_per_s", "block"), [(1000, SMALLEST_BLOCK), (1_000_000, 100_000), (10**9, LARGEST_BLOCK)]
)
def test_what_is_taken_at_once_fits_the_limit(bytes_per_s: int, block: int) -> None:
    assert block == Limit(bytes_per_s).block


def test_without_a_word_nothing_is_limited() -> None:
    traffic = Traffic()

    assert (None, None) == (traffic.upload, traffic.download)
