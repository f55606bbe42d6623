"""Results of runs that are long over: they leave the colony, and nothing else does."""

from __future__ import annotations

from pathlib import Path

import pytest

from pollinator.executors.base import Job
from pollinator.executors.colonies import delivery
from pollinator.executors.colonies.cfs import nobody
from pollinator.executors.colonies.delivery import fetch, release
from pollinator.executors.colonies.ends import End
from pollinator.executors.colonies.funcspec import label_of, result_label
from pollinator.executors.colonies.handover import Handover, Staged
from pollinator.executors.colonies.line import Line
from pollinator.v1.run_pb2 import Outcome, RunState, SnapshotSource
from pollinator.v1.spec_pb2 import RunSpec
from pollinator.wire.errors import Unavailable
from support.colonies.machines import Machine, Stage

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("colony_s3")]


@pytest.fixture
def results(stage: Stage) -> str:
    """The label of all results of the project."""
    return f"{stage.project}/result"


async def bring(here: Machine, results: str, *runs: str) -> None:
    """Have results of some runs there, that were brought here."""
    for run in runs:
        await here.push(f"{results}/{run}", {b"out": run.encode(), b"deep": {b"er": b"x", b"empty": b""}})
        here.files.have(results, f"{results}/{run}")


def runs_of(stage: Stage, results: str) -> set[str]:
    """Those whose results are there."""
    below = (label.removeprefix(results).strip("/") for label in stage.there(results))
    return {label.partition("/")[0] for label in below if label}


async def test_the_newest_stay(stage: Stage, results: str) -> None:
    here = await stage.machine()
    stage.add(results, "of-others", b"stays")
    before = stage.server.objects().keys()
    await bring(here, results, "R1")
    of_first = stage.server.objects().keys() - before
    await bring(here, results, "R2", "R11", "R3")

    await here.files.thin_out(results, 2)

    assert {"R11", "R3"} == runs_of(stage, results)
    assert ["of-others"] == stage.there(results)[results]
    assert of_first
    assert not of_first & stage.server.objects().keys()
    assert {"out": b"R3", "deep/er": b"x", "deep/empty": b""} == await here.pulled(f"{results}/R3")


async def test_what_was_never_brought_here_stays(stage: Stage, results: str) -> None:
    here = await stage.machine()
    await here.push(f"{results}/R0", {b"out": b"nowhere else"})
    await bring(here, results, "R1", "R2")

    await here.files.thin_out(results, 1)

    assert {"R0", "R2"} == runs_of(stage, results)


async def test_all_revisions_go(stage: Stage, results: str) -> None:
    here = await stage.machine()
    before = stage.server.objects().keys()
    await bring(here, results, "R1", "R1")
    stage.add(f"{results}/R1", "out", b"another time")
    await bring(here, results, "R2")
    await here.files.thin_out(results, 1)
    await here.files.thin_out(results, 1)
    left = stage.server.objects().keys() - before

    assert 3 == len(left)
    assert {"R2"} == runs_of(stage, results)


async def test_a_process_that_reads_all_results_finds_them(stage: Stage, results: str) -> None:
    here = await stage.machine()
    await bring(here, results, "R1", "R2")
    fs = {"mount": "/cfs", "dirs": [{"label": results, "dir": "/result"}]}
    conditions = {"colonyname": stage.site.name, "executortype": f"none-{stage.project}"}
    spec = {"funcname": "execute", "conditions": conditions, "fs": fs, "maxexectime": 60, "maxwaittime": 60}
    process = stage.ask("submitfuncspecmsg", spec=spec)

    await here.files.thin_out(results, 1)
    meanwhile = runs_of(stage, results)
    stage.ask("cancelprocessmsg", processid=process["processid"])
    await here.files.thin_out(results, 1)

    assert {"R1", "R2"} == meanwhile
    assert {"R2"} == runs_of(stage, results)


@pytest.mark.double_only("loses requests")
async def test_what_could_not_be_removed_is_removed_later(stage: Stage, results: str) -> None:
    here = await stage.machine()
    await bring(here, results, "R1", "R2")
    stage.site.double.fault("cut", "removefilemsg", first=2)
    with pytest.raises(Unavailable):
        await here.files.thin_out(results, 1)

    again = await stage.machine()
    await again.files.thin_out(results, 1)

    assert {"R2"} == runs_of(stage, results)


async def test_a_run_that_has_ended_has_older_results_removed(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "KEPT", 2)
    here = await stage.machine()
    colony = stage.site.seen_by(stage.user, stage.server.settings().s3)
    line = Line(colony, here.ledger, here.threads)
    project = stage.project.rpartition("/")[2]
    for run_id in ("RUN1", "RUN2", "RUN3"):
        await here.push(result_label(project, run_id), {b"out": run_id.encode()})
        folder = tmp_path / run_id
        folder.mkdir()
        run = Handover(Job(run_id, RunSpec(project=project), folder, SnapshotSource(colony=colony)))
        run.stage(Staged(("site",), "container-executor", ours=False))
        run.is_process("p")
        run.end(End(RunState.RUN_STATE_SUCCEEDED, Outcome(), left=True))
        monkeypatch.setattr(delivery, "LEFT_S", 0.0)
        await fetch(run, line, nobody)
        await release(run, line)
    await line.close()

    assert {"RUN2", "RUN3"} == runs_of(stage, label_of(project, "result"))
    assert b"RUN1" == (tmp_path / "RUN1" / "work" / "result" / "out").read_bytes()
