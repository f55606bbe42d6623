"""How a real server is named to the tests, instead of the double, and what is then left out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from support.colonies.asking import Line
from support.colonies.sites import SWEEP_S, Site, real_site

NAMES = {"HOST": "h", "PORT": "1", "NAME": "n", "KEY": "k"}


def named(**more: str) -> Site:
    """A real server."""
    site = real_site(variables({**NAMES, **more}))

    assert site is not None
    return site


def variables(names: Mapping[str, str]) -> dict[str, str]:
    return {f"POLLINATOR_TEST_COLONIES_{name}": value for name, value in names.items()}


def test_a_real_server_is_named_in_full() -> None:
    with pytest.raises(pytest.fail.Exception, match="POLLINATOR_TEST_COLONIES_KEY"):
        real_site(variables({"HOST": "h", "PORT": "1"}))


def test_a_real_server_that_is_named_is_used() -> None:
    site = named()

    assert (Line("h", 1), "n", "k", True) == (site.line, site.name, site.owner.key, site.is_real)


def test_a_test_that_needs_the_double_has_to_say_so() -> None:
    with pytest.raises(pytest.fail.Exception, match="double_only"):
        _ = named().double


def test_a_real_server_gives_up_who_is_silent_when_it_says_so() -> None:
    with named(STALE="20").forgetful(0.3, 0.1) as gone_s:
        assert 20 + SWEEP_S == gone_s
    with pytest.raises(pytest.skip.Exception, match="STALE"), named().forgetful(0.3, 0.1):
        pass


def test_a_real_server_is_stopped_and_started_by_the_commands_that_are_named(tmp_path: Path) -> None:
    stopped, started = tmp_path / "stopped", tmp_path / "started"

    with named(STOP=f"touch {stopped}", START=f"touch '{started}'").stopped():
        assert (True, False) == (stopped.exists(), started.exists())

    assert started.exists()
    with pytest.raises(pytest.skip.Exception, match="STOP"), named(STOP="true").stopped():
        pass
