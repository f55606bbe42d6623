"""Ids of runs."""

from __future__ import annotations

import pytest

from pollinator.model.ids import run_id

MOST = (1 << 48) - 1


def test_an_id_is_a_ulid_in_lower_case() -> None:
    """The example that the ULID specification gives."""
    randomness = bytes.fromhex("d6764c61efb99302bd5b")

    assert "01ARYZ6S41TSV4RRFFQ69G5FAV".lower() == run_id(1469918176385, randomness)


@pytest.mark.parametrize(("time_ms", "randomness"), [(0, bytes(10)), (MOST, b"\xff" * 10), (1, b"\xff" * 10)])
def test_an_id_has_26_characters_that_a_file_may_be_named_by(time_ms: int, randomness: bytes) -> None:
    made = run_id(time_ms, randomness)

    assert 26 == len(made)
    assert made == made.lower()
    assert set(made) <= set("0123456789abcdefghjkmnpqrstvwxyz")


@pytest.mark.parametrize("time_ms", [-1, MOST + 1])
def test_a_time_beyond_48_bits_is_refused(time_ms: int) -> None:
    with pytest.raises(ValueError, match="does not fit in 48 bits"):
        run_id(time_ms, bytes(10))


@pytest.mark.parametrize("length", [0, 9, 11])
def test_the_randomness_has_its_length(length: int) -> None:
    with pytest.raises(ValueError, match="10 random bytes are needed"):
        run_id(0, bytes(length))
