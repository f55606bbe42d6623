"""The job script as Slurm itself reads it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pollinator.executors.conformance.asking import make_spec
from pollinator.executors.slurm.script import Place, Site, job_script
from pollinator.v1.spec_pb2 import Gpu, Slurm
from support.slurm import Slurm as Cluster

pytestmark = pytest.mark.integration

HOSTILE = [
    "$(touch owned)",
    "`touch owned`",
    "a && touch owned",
    "$HOME",
    "it's",
    'say "hi"',
    "a # b",
    "%j %u",
    "--wrap=x",
    "é→ü",
    ";|>",
    "*?[a]",
    ":x",
    "a\tb",
]


ASKS = (
    "import os; from pollinator.executors.slurm.batch import time_left as left; "
    "print(left(os.environ['SLURM_JOB_ID']))"
)


def test_hostile_names_arrive_as_they_were_written(slurm: Cluster, tmp_path: Path) -> None:
    for number, text in enumerate([*HOSTILE, "back\\slash"]):
        folder = tmp_path / (f"{number}" if "\\" in text else text.replace("/", "_"))
        folder.mkdir()
        place = Place(text, folder, ["printf", "%s", text], 0)
        wishes = Slurm(directives=[f"--mail-user={text}"])
        job = slurm.submit(job_script(make_spec(), wishes, place, Site()))
        slurm.wait_for(job, "COMPLETED", "FAILED")
        shown = slurm.run("squeue", "-ht", "all", "-j", job, "-o", "%j|||%k|||%Z").rstrip("\n")

        assert [f"pollinator-{text}", f"pollinator:{text}", str(folder)] == shown.split("|||")
        assert text == (folder / "job.log").read_text()
        assert ["job.log"] == [each.name for each in folder.iterdir()]


def test_slurm_gives_what_is_asked_for(slurm: Cluster, tmp_path: Path) -> None:
    spec = make_spec(
        nodes=2, processes_per_node=2, cpu_millis=2000, memory_bytes=300 << 20, gpu=Gpu(count=1, name="fake")
    )
    place = Place("run", tmp_path, ["sh", "-c", "echo $CUDA_VISIBLE_DEVICES $SLURM_TASKS_PER_NODE"], 5000)
    job = slurm.submit(job_script(spec, Slurm(partition="short"), place, Site()))
    shown = slurm.wait_for(job, "COMPLETED", "FAILED")

    expected = {"NumNodes": "2", "CPUs/Task": "1", "MinMemoryNode": "300M", "TimeLimit": "00:02:00"}
    expected |= {"Partition": "short", "Requeue": "0", "NumTasks": "4", "NumCPUs": "4"}
    assert expected == {name: shown[name] for name in expected}
    assert "0 2(x2)\n" == (tmp_path / "job.log").read_text()


@pytest.mark.parametrize(("time", "least", "most"), [("2", 100, 120), ("1-01:00:00", 89_000, 90_000)])
def test_a_job_knows_how_much_time_it_has_left(
    slurm: Cluster, tmp_path: Path, time: str, least: int, most: int
) -> None:
    script = f'#!/bin/sh\nexec {sys.executable} -c "{ASKS}"\n'
    job = slurm.submit(script, f"--time={time}", f"--output={tmp_path}/out")
    slurm.wait_for(job, "COMPLETED", "FAILED")

    assert least < float((tmp_path / "out").read_text()) <= most
