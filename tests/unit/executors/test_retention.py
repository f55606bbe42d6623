"""Runs that somebody else has taken over do not pile up; all others stay for ever."""

from __future__ import annotations

from pathlib import Path

import pytest

from pollinator.executors import runlog
from pollinator.executors.runlog import RunFolder, RunFolders
from pollinator.v1.run_pb2 import (
    Outcome,
    OutcomeReason,
    Run,
    RunEvent,
    RunState,
    StartRunRequest,
    StateChanged,
)
from pollinator.wire.errors import NotFound


@pytest.fixture(autouse=True)
def kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runlog, "KEPT", 2)


def ended(folders: RunFolders, name: str, reason: str = "EXIT_CODE") -> RunFolder:
    request = StartRunRequest(request_id=f"of-{name}")
    folder = folders.create(Run(id=name, request_id=request.request_id), request)
    (folder.path / "output").mkdir()
    (folder.path / "output" / "0").write_bytes(b"printed")
    outcome = Outcome(reason=OutcomeReason.Value(f"OUTCOME_REASON_{reason}"))
    end = StateChanged(state=RunState.RUN_STATE_FAILED, outcome=outcome)
    folder.append(RunEvent(state_changed=end))
    return folder


def names(folders: RunFolders) -> list[str]:
    return [each.run.id for each in folders.all()]


def test_the_newest_of_the_runs_that_are_not_needed_stay(tmp_path: Path) -> None:
    folders = RunFolders(tmp_path)
    runs = [ended(folders, f"r{at}") for at in range(5)]
    dropped = [path for run in runs for path in folders.forget(run)]

    assert ["r3", "r4"] == names(folders)
    assert 3 == len(dropped)
    assert all((path / "output" / "0").exists() for path in dropped)
    with pytest.raises(NotFound):
        folders.find("r0")
    assert folders.by_request("of-r0") is None


def test_runs_that_nobody_has_taken_over_stay(tmp_path: Path) -> None:
    folders = RunFolders(tmp_path)
    runs = [ended(folders, f"r{at}") for at in range(6)]
    for run in runs[1::2]:
        folders.forget(run)

    assert ["r0", "r2", "r3", "r4", "r5"] == names(folders)


def test_a_run_with_results_that_could_not_be_stored_stays(tmp_path: Path) -> None:
    folders = RunFolders(tmp_path)
    runs = [ended(folders, f"r{at}", "COLLECT" if at == 0 else "EXIT_CODE") for at in range(4)]
    for run in runs:
        folders.forget(run)

    assert ["r0", "r2", "r3"] == names(folders)


def test_saying_so_again_is_harmless(tmp_path: Path) -> None:
    folders = RunFolders(tmp_path)
    run = ended(folders, "r0")

    assert [[], []] == [folders.forget(run), folders.forget(run)]
    assert ["r0"] == names(folders)


def test_after_a_restart_it_is_still_known_what_is_not_needed(tmp_path: Path) -> None:
    folders = RunFolders(tmp_path)
    for run in [ended(folders, f"r{at}") for at in range(2)]:
        folders.forget(run)
    again = RunFolders(tmp_path)
    again.forget(ended(again, "r2"))

    assert ["r1", "r2"] == names(again)


def test_a_run_that_was_dropped_when_the_process_was_killed_does_not_come_back(tmp_path: Path) -> None:
    folders = RunFolders(tmp_path)
    dropped = [path for at in range(3) for path in folders.forget(ended(folders, f"r{at}"))]
    again = RunFolders(tmp_path)

    assert 1 == len(dropped)
    assert ["r1", "r2"] == names(again)
    assert {"r1", "r2"} == {path.name for path in tmp_path.iterdir()}
