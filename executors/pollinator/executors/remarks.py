"""What is added to a run's log in the course of its life, in the words of the protocol."""

from __future__ import annotations

from pollinator.chunks.capture import Captured
from pollinator.executors.base import Tell
from pollinator.executors.records import STARTED
from pollinator.executors.runlog import BEFORE_RANKS, RunFolder
from pollinator.v1.run_pb2 import Notice, RunEvent, RunState, Severity, StateChanged
from pollinator.wire.errors import WrongState

NAMED = 10
"""So many files that could not be collected are named."""


def moved(state: RunState.ValueType, attempt: int = 0) -> RunEvent:
    """A move of the run."""
    return RunEvent(state_changed=StateChanged(state=state, attempt=attempt))


def notice(folder: RunFolder, code: str, text: str) -> None:
    """Tell the user, unless that was done before."""
    tell(folder, Notice(severity=Severity.SEVERITY_WARNING, code=code, text=text))


def tell(folder: RunFolder, said: Notice) -> None:
    """Add a notice, unless it is there."""
    if said not in folder.run.notices:
        folder.append(RunEvent(notice=said))


def note_results(folder: RunFolder, captured: Captured | None) -> None:
    """Add where the results are, and which could not be stored."""
    if captured is None:
        # What never began, for want of its image say, has no folder to be missed.
        if (folder.path / STARTED).exists():
            notice(folder, "not_collected", "nothing was collected: result is not a folder any more")
        return
    skipped = [f"not collected: result/{line}" for line in captured.skipped[:NAMED]]
    if len(captured.skipped) > NAMED:
        skipped.append(f"not collected: {len(captured.skipped) - NAMED} more")
    for text in skipped:
        notice(folder, "not_collected", text)
    folder.append(RunEvent(collected=captured.ref))


def note_attempts(folder: RunFolder, attempt: int) -> None:
    """Have the run in this attempt, as a backend counts them; some began and ended between two looks."""
    while folder.run.attempt < attempt:
        if folder.run.state in BEFORE_RANKS and (folder.path / STARTED).exists():
            folder.append(moved(RunState.RUN_STATE_RUNNING))
        folder.append(moved(RunState.RUN_STATE_QUEUED, folder.run.attempt + 1))


def while_wanted(folder: RunFolder, note: Tell) -> Tell:
    """Note how far work for a run is; stop it when somebody wishes that the run ends."""

    def go_on(done: int) -> None:
        if folder.run.cancel_requested:
            raise WrongState(f"run {folder.run.id} was cancelled", reason="cancelled")
        note(done)

    return go_on
