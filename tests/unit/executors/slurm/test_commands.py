"""Slurm's programs are run with a deadline, and each way in which they fail has its own reason."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from pathlib import Path

import pytest

from pollinator.executors.slurm.commands import Commands, Said, clean, failure
from pollinator.wire.errors import Denied, InvalidInput, NotFound, PollinatorError, Unavailable, WrongState
from support.sandbox import gone
from support.scripted_executor import until
from support.slurm_site import programs


@pytest.mark.parametrize(
    ("words", "kind", "reason"),
    [
        (
            "slurm_load_jobs error: Unable to contact slurm controller (connect failure)",
            Unavailable,
            "slurm_down",
        ),
        ("sinfo: error: Protocol authentication error", Unavailable, "slurm_down"),
        (
            "sacct: error: slurm_persist_conn_open_without_init: failed to open persistent connection to x",
            Unavailable,
            "slurm_accounting_down",
        ),
        ("sacct: error: Problem talking to the database: Connection refused", Unavailable, None),
        ("Slurm accounting storage is disabled", WrongState, "slurm_accounting_off"),
        ("sinfo: fatal: Could not establish a configuration source", WrongState, "slurm_missing"),
        ("slurm_load_jobs error: Invalid job id specified", NotFound, "slurm_job_missing"),
        ("scancel: error: Kill job error on job id 1: Access/permission denied", Denied, "slurm_denied"),
        (
            "sbatch: error: Batch job submission failed: Invalid account or account/partition specified",
            InvalidInput,
            "slurm_refused",
        ),
        ("sbatch: unrecognized option '--bogus'", InvalidInput, "slurm_refused"),
    ],
)
def test_what_slurm_says_has_a_reason(words: str, kind: type[PollinatorError], reason: str | None) -> None:
    error = failure(Said("sacct", "", words, 1))

    assert kind is type(error)
    assert (reason or "slurm_accounting_down") == error.reason


def test_a_refusal_is_told_in_slurms_own_words() -> None:
    said = Said(
        "sbatch",
        "",
        "sbatch: error: invalid partition specified: nope\n"
        "sbatch: error: Batch job submission failed: Invalid partition name specified\n",
        1,
    )

    assert (
        "sbatch refuses: invalid partition specified: nope; "
        "Batch job submission failed: Invalid partition name specified" == failure(said).message
    )


def test_variables_of_the_user_that_change_what_slurm_does_are_left_out() -> None:
    given = {
        "PATH": "/bin",
        "HOME": "/home/ada",
        "SLURM_CONF": "/etc/slurm/slurm.conf",
        "SLURM_JWT": "x",
        "SQUEUE_FORMAT": "%i",
        "SLURM_TIME_FORMAT": "relative",
        "SBATCH_PARTITION": "p",
        "SLURM_JOB_ID": "1",
        "SACCT_FORMAT": "JobID",
        "SLURMISH": "kept",
    }

    assert {"PATH", "HOME", "SLURM_CONF", "SLURM_JWT", "SLURMISH"} == clean(given).keys()


async def test_a_program_that_does_not_answer_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    slurm = programs(tmp_path / "bin", squeue=f"sleep 600 & echo $! > {pid}; wait")
    began = time.monotonic()

    with pytest.raises(Unavailable) as failed:
        await slurm.ask("squeue", deadline_s=2)

    assert "slurm_down" == failed.value.reason
    assert time.monotonic() - began < 10
    await until(lambda: gone(int(pid.read_text())), "what squeue had started has ended")


async def test_a_program_that_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(WrongState) as failed:
        await Commands({"PATH": str(tmp_path)}).ask("squeue-that-is-nowhere")

    assert "slurm_missing" == failed.value.reason


async def test_questions_are_asked_in_one_language_and_time_zone(tmp_path: Path) -> None:
    slurm = programs(tmp_path / "bin", squeue='echo "$LC_ALL $TZ $*"')

    assert "C UTC -h --jobs=1\n" == await slurm.ask("squeue", "-h", "--jobs=1")


async def test_a_long_answer_is_read_while_the_program_writes_it(tmp_path: Path) -> None:
    slurm = programs(tmp_path / "bin", squeue="seq 200000; seq 200000 >&2")

    assert 200_000 == len((await slurm.ask("squeue")).splitlines())


@pytest.mark.parametrize(("name", "most"), [("squeue", 1), ("sacct", 1), ("sinfo", 4)])
async def test_programs_run_together_only_so_far(tmp_path: Path, name: str, most: int) -> None:
    # Nobody leaves before as many as may are there together.
    script = (
        f"cd {tmp_path}; touch at/$$; until [ -e full ]; do [ $(ls at | wc -l) -lt {most} ] || > full; "
        "sleep 0.01; done; "
        "ls at | wc -l >> seen; sleep 0.1; ls at | wc -l >> seen; rm at/$$"
    )
    (tmp_path / "at").mkdir()
    slurm = programs(tmp_path / "bin", **{name: script})

    async with asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(slurm.ask(name))

    assert most == max(map(int, (tmp_path / "seen").read_text().split()))


async def test_many_that_hang_do_not_hold_up_other_programs(tmp_path: Path) -> None:
    slurm = programs(tmp_path / "bin", scontrol="sleep 600", squeue="echo there")

    async with asyncio.TaskGroup() as group:
        hanging = [group.create_task(slurm.ask("scontrol")) for _ in range(20)]
        async with asyncio.timeout(30):
            assert "there\n" == await slurm.ask("squeue")
        for task in hanging:
            task.cancel()


@pytest.mark.skipif(sys.platform != "linux", reason="pipes are counted in /proc")
async def test_who_stops_while_a_program_starts_leaves_nothing_of_it(tmp_path: Path) -> None:
    slurm = programs(tmp_path / "bin", squeue=f"sleep 600 & echo $! >> {tmp_path}/pids; wait")
    before = _pipes()

    # Programs start in a few turns of the loop. Each of them is one to be stopped in.
    for turns in range(30):
        async with asyncio.TaskGroup() as group:
            task = group.create_task(slurm.ask("squeue"))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
        assert before == _pipes(), f"after {turns} turns"
    pids = (tmp_path / "pids").read_text().split() if (tmp_path / "pids").exists() else []
    await until(lambda: all(gone(int(pid)) for pid in pids), "all are ended")


def _pipes() -> int:
    """So many ends of pipes this process holds."""
    held = 0
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            held += os.readlink(f"/proc/self/fd/{name}").startswith("pipe:")
    return held


async def test_the_script_reaches_sbatch_in_the_folder_of_the_run(tmp_path: Path) -> None:
    slurm = programs(tmp_path / "bin", sbatch="cat > got; echo 12")

    said = await slurm.submit("#!/bin/sh\necho 'ü $(x)'\n", tmp_path)

    assert ("12\n", "#!/bin/sh\necho 'ü $(x)'\n") == (said.out, (tmp_path / "got").read_text())


async def test_a_script_that_sbatch_does_not_read_is_its_own_affair(tmp_path: Path) -> None:
    slurm = programs(tmp_path / "bin", sbatch="echo 'sbatch: error: no' >&2; exit 1")

    with pytest.raises(InvalidInput) as failed:
        await slurm.submit("x" * 1_000_000, tmp_path)

    assert "sbatch refuses: no" == failed.value.message


@pytest.mark.parametrize(
    "script",
    [
        "kill -9 $$",
        "echo 'sbatch: error: Socket timed out on send/recv operation' >&2; exit 1",
        "echo 'sbatch: error: Zero Bytes were transmitted or received' >&2; exit 1",
        "echo 'sbatch: error: Unable to contact slurm controller (receive failure)' >&2; exit 1",
    ],
)
async def test_a_lost_answer_of_sbatch_is_told_apart_from_a_refusal(tmp_path: Path, script: str) -> None:
    slurm = programs(tmp_path / "bin", sbatch=script)

    with pytest.raises(Unavailable) as failed:
        await slurm.submit("#!/bin/sh\n", tmp_path)

    assert "submit_unknown" == failed.value.reason


async def test_a_controller_that_was_not_reached_has_accepted_nothing(tmp_path: Path) -> None:
    words = "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)"
    slurm = programs(tmp_path / "bin", sbatch=f"echo '{words}' >&2; exit 1")

    with pytest.raises(Unavailable) as failed:
        await slurm.submit("#!/bin/sh\n", tmp_path)

    assert "slurm_down" == failed.value.reason


async def test_an_answer_of_sbatch_counts_although_it_does_not_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pollinator.executors.slurm.commands.SUBMIT_S", 1.0)
    slurm = programs(tmp_path / "bin", sbatch="echo '12;cluster'; sleep 600")

    assert "12;cluster\n" == (await slurm.submit("#!/bin/sh\n#SBATCH --wait\n", tmp_path)).out
