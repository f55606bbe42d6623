"""One project and its runs, put together from what WatchProject tells."""

from __future__ import annotations

from pollinator.cli.project_state import NOBODY, ProjectState
from pollinator.v1.project_pb2 import Project, WatchProjectResponse
from pollinator.v1.run_pb2 import Run, RunState

DEMO = Project(root="/demo", name="demo")


def runs(**states: RunState.ValueType) -> list[Run]:
    return [Run(id=name, project="demo", state=state) for name, state in states.items()]


def told(state: ProjectState) -> dict[str, RunState.ValueType]:
    return {run.id: run.state for run in state.runs}


def test_runs_that_changed_take_the_place_of_what_they_were_and_new_ones_come_first() -> None:
    state = ProjectState()
    state.take(
        WatchProjectResponse(
            project=DEMO,
            runs=runs(a=RunState.RUN_STATE_SUCCEEDED, b=RunState.RUN_STATE_RUNNING),
            complete=True,
        )
    )
    state.take(
        WatchProjectResponse(
            project=DEMO, runs=runs(b=RunState.RUN_STATE_FAILED, c=RunState.RUN_STATE_QUEUED)
        )
    )

    assert ["c", "b", "a"] == [run.id for run in state.runs]
    assert RunState.RUN_STATE_FAILED == told(state)["b"]


def test_what_is_complete_takes_the_place_of_everything_and_what_is_forgotten_goes() -> None:
    state = ProjectState()
    before = runs(a=RunState.RUN_STATE_SUCCEEDED)
    state.take(WatchProjectResponse(project=DEMO, runs=before, complete=True))
    after = runs(b=RunState.RUN_STATE_LOST, c=RunState.RUN_STATE_LOST)
    state.take(WatchProjectResponse(project=DEMO, runs=after, complete=True))
    state.take(WatchProjectResponse(project=DEMO, forgotten_runs=["b", "never known"]))

    assert {"c": RunState.RUN_STATE_LOST} == told(state)


def test_people_see_the_project_and_a_table_of_its_runs() -> None:
    state = ProjectState()
    state.take(WatchProjectResponse(project=DEMO))
    alone = state.lines(colour=False)
    state.take(WatchProjectResponse(project=DEMO, runs=runs(a=RunState.RUN_STATE_RUNNING)))

    assert "demo  /demo" == alone[0]
    assert [*alone, ""] == state.lines(colour=False)[:-2]
    assert state.lines(colour=False)[-1].startswith("a    running")


def test_without_a_daemon_a_program_is_told_that_there_is_nothing() -> None:
    assert '"runs": []' in NOBODY
    assert '"complete": true' in NOBODY
