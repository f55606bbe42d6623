"""A project that is halted says why, for as long as it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pollinator.daemon.sync.engine import SyncEngine
from pollinator.daemon.sync.safety import EMPTIED_FILES
from pollinator.v1.project_pb2 import ProjectState
from pollinator.v1.spec_pb2 import RunSpec
from pollinator.wire.errors import Halted
from support.storing import MemoryStore


@pytest.fixture
def emptied(tmp_path: Path) -> Iterator[SyncEngine]:
    """An engine whose data tree had files and has none now."""
    for tree in ("src", "data"):
        (tmp_path / "cfs" / tree).mkdir(parents=True)
    files = [tmp_path / "cfs" / "data" / f"f{number}" for number in range(EMPTIED_FILES)]
    for file in files:
        file.touch()
    engine = SyncEngine(tmp_path, tmp_path / "index.db", MemoryStore())
    engine.seal(RunSpec())
    for file in files:
        file.unlink()
    yield engine
    engine.close()


def test_why_it_is_halted_stays_told_with_what_to_do(emptied: SyncEngine) -> None:
    with pytest.raises(Halted):
        emptied.seal(RunSpec())

    emptied.step()

    status = emptied.status()
    assert status.state == ProjectState.PROJECT_STATE_HALTED
    assert "has none now" in status.problem
    assert "--accept-deletions" in status.problem


def test_once_the_deletion_is_accepted_nothing_is_wrong_any_more(emptied: SyncEngine) -> None:
    with pytest.raises(Halted):
        emptied.seal(RunSpec())

    emptied.seal(RunSpec(), accept_deletions=True)
    emptied.step()

    assert emptied.status().problem == ""
    assert emptied.status().state == ProjectState.PROJECT_STATE_IN_SYNC
