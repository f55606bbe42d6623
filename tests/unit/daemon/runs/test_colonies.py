"""What is remembered of colonies, and for whom to read."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from pollinator.daemon.runs.colonies import ColonyKeeper
from pollinator.v1.colony_pb2 import Colony
from pollinator.wire.errors import NeedsLogin

KEY, NEWER = "1" * 64, "2" * 64


def colony(name: str = "dev", key: str = KEY) -> Colony:
    return Colony(host="127.0.0.1", port=50080, name=name, private_key=key)


def test_a_project_goes_on_with_the_colony_it_was_last_used_with(tmp_path: Path) -> None:
    keeper = ColonyKeeper(tmp_path)
    keeper.keep("/a", colony())
    other = keeper.keep("/b", colony("other"))
    again = ColonyKeeper(tmp_path)

    assert colony() == again.settings(again.last("/a"))
    assert colony("other") == again.settings(other)
    assert other == again.last("/b")
    assert "" == again.last("/c")


def test_a_new_key_is_that_of_all_runs_in_the_colony(tmp_path: Path) -> None:
    keeper = ColonyKeeper(tmp_path)
    colony_id = keeper.keep("/a", colony())
    keeper.keep("/b", colony(key=NEWER))

    assert NEWER == keeper.settings(colony_id).private_key


def test_only_the_user_can_read_keys(tmp_path: Path) -> None:
    keeper = ColonyKeeper(tmp_path / "colonies")
    keeper.keep("/a", colony())

    assert {0o600} == {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "colonies").iterdir()}
    assert 0o700 == stat.S_IMODE((tmp_path / "colonies").stat().st_mode)
    assert KEY not in "".join(path.name for path in (tmp_path / "colonies").iterdir())


def test_a_colony_that_is_not_known_any_more_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(NeedsLogin, match="not known any more"):
        ColonyKeeper(tmp_path).settings("0123")
