"""The job script as Slurm itself reads it."""

from __future__ import annotations

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
