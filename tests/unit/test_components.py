"""Real components that are not installed are missed aloud."""

from __future__ import annotations

import pytest

from support.components import REQUIRE, program

ABSENT = ("no-such-server", "s3", "apt-get install no-such-server")


def test_a_missing_component_skips_a_test_and_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(REQUIRE, raising=False)
    with pytest.raises(pytest.skip.Exception) as caught:
        program(*ABSENT)

    assert "apt-get install no-such-server" in str(caught.value)


@pytest.mark.parametrize("required", ["s3", "slurm, s3", "slurm,s3"])
def test_a_missing_component_that_is_required_fails_a_test(
    monkeypatch: pytest.MonkeyPatch, required: str
) -> None:
    monkeypatch.setenv(REQUIRE, required)
    with pytest.raises(pytest.fail.Exception) as caught:
        program(*ABSENT)

    assert "apt-get install no-such-server" in str(caught.value)


def test_what_others_require_only_skips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(REQUIRE, "slurm")
    with pytest.raises(pytest.skip.Exception):
        program(*ABSENT)
