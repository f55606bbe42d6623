"""An srun that does not listen does not hold up the supervisor in the job."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from pollinator.executors.slurm.step import Step

PLAN = {"nodes": ["n1", "n2"], "cpus_per_task": 1, "env": {"LARGE": "x" * 1_000_000}}

SLOW = """\
import json, pathlib, sys, time
for _ in range(1000):
    if pathlib.Path("{go}").exists():
        break
    time.sleep(0.01)
else:
    sys.exit("nobody goes on")
print("noise" * 100_000, flush=True)
plan, word = (json.loads(sys.stdin.readline()) for _ in "12")
print(len(plan["env"]["LARGE"]), word, flush=True)
"""


class Srun:
    """A program in the place of srun."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder = folder
        self.go = folder / "go"
        monkeypatch.setenv("PATH", str(folder), prepend=":")

    def is_(self, text: str) -> None:
        path = self._folder / "srun"
        path.write_text(f"#!{sys.executable}\n{text}")
        path.chmod(0o755)


@pytest.fixture
def srun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Srun:
    return Srun(tmp_path, monkeypatch)


def test_all_is_told_to_an_srun_that_reads_late_and_speaks_first(srun: Srun) -> None:
    srun.is_(SLOW.format(go=srun.go))
    step = Step("ranks", PLAN, 1, io.BytesIO())
    step.tell({"end": "stopped"})
    srun.go.touch()
    step.listen(10)
    while not step.ended:
        step.listen(0.1)
    step.close()

    assert "1000000 {'end': 'stopped'}" in step.words


def test_an_srun_that_ends_without_hearing_anything_is_no_trouble(srun: Srun) -> None:
    srun.is_("import sys; sys.exit('no such partition')")
    step = Step("ranks", PLAN, 1, io.BytesIO())
    while not step.ended:
        step.listen(0.1)
    step.tell({"end": "stopped"})
    step.close()

    assert "no such partition" == step.words


def test_an_srun_that_never_reads_can_be_ended(srun: Srun) -> None:
    srun.is_("import time; print('up', flush=True); time.sleep(60)")
    step = Step("ranks", PLAN, 1, io.BytesIO())
    while not step.words:
        step.listen(0.1)
    step.end()
    while not step.ended:
        step.listen(0.1)
    step.close()

    assert "up" == step.words
