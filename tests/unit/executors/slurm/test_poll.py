"""Jobs are asked about together, and what is known of them survives whatever Slurm does or does not say."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pollinator.executors.slurm import poll
from pollinator.executors.slurm.pace import Pace
from pollinator.executors.slurm.poll import Poller
from pollinator.executors.slurm.seen import BREAK, JobSeen
from support.scripted_executor import until
from support.slurm_site import programs

QUICK = Pace(quick_s=0.02, slow_s=0.05, down_s=0.05, share=1.0)
DOWN = "slurm_load_jobs error: Unable to contact slurm controller (connect failure)"
DATABASE_DOWN = "sacct: error: Problem talking to the database: Connection refused"
UNKNOWN = "slurm_load_jobs error: Invalid job id specified"


class Site:
    """squeue and sacct that print what a test sets, and note how they were called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        script = (
            f'echo "$*" >> {folder}/NAME.calls; cat {folder}/NAME.out; '
            f"test ! -s {folder}/NAME.err || {{ cat {folder}/NAME.err >&2; exit 1; }}"
        )
        scripts = {name: script.replace("NAME", name) for name in ("squeue", "sacct")}
        self.commands = programs(folder / "bin", **scripts)
        self.says("squeue")
        self.says("sacct")

    def says(self, name: str, text: str = "", error: str = "") -> None:
        """What a program prints from now on."""
        for ending, content in (
            ("err", error),
            ("out", text.replace("|", BREAK) if name == "squeue" else text),
        ):
            new = self.folder / f"{name}.new"
            new.write_text(content)
            new.rename(self.folder / f"{name}.{ending}")

    def last_call(self, name: str) -> float:
        """When a program was called last, as a time of this machine."""
        return (self.folder / f"{name}.calls").stat().st_mtime

    def calls(self, name: str) -> list[str]:
        """How a program was called, call by call."""
        path = self.folder / f"{name}.calls"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@asynccontextmanager
async def polling(site: Site, *job_ids: str, pace: Pace = QUICK) -> AsyncGenerator[Poller]:
    """A poller at work that follows these jobs."""
    poller = Poller(site.commands, pace)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(poller.run())
        for job_id in job_ids:
            poller.follow(job_id)
        yield poller
        task.cancel()


def row(job_id: str, state: str, *, code: str = "0", restarts: int = 0, nodes: str = "n1") -> str:
    times = "2026-11-26T00:06:41|2026-11-26T00:06:42"
    return f"{job_id}|{job_id}|{state}|None|{nodes}|{code}|{restarts}|{times}|\n"


def account(job_id: str, state: str, code: str = "0:0") -> str:
    times = "2026-11-26T00:06:41|2026-11-26T00:06:42"
    ids = (job_id, f"{job_id}.batch")
    return "".join(f"{each}|{each}|{state}|{code}|{times}|n1\n" for each in ids)


async def has(poller: Poller, job_id: str, condition: Callable[[JobSeen], bool]) -> JobSeen:
    """Wait until what is seen of a job is so."""
    await until(lambda: (seen := poller.seen(job_id)) is not None and condition(seen), "the job is seen so")
    seen = poller.seen(job_id)
    assert seen is not None
    return seen


async def rounds(site: Site, count: int = 2, name: str = "squeue") -> None:
    """Wait for so many more calls."""
    before = len(site.calls(name))
    await until(lambda: len(site.calls(name)) >= before + count, f"{count} more calls of {name}")


async def test_all_jobs_are_asked_about_in_one_call_and_only_ours_are_sent(site: Site) -> None:
    site.says("squeue", row("1", "RUNNING") + row("2", "PENDING"))
    async with polling(site, "1", "2") as poller:
        await has(poller, "2", lambda seen: seen.state == "PENDING")
        await has(poller, "1", lambda seen: seen.state == "RUNNING")

    assert all("--jobs=1,2" in call and "--user=" in call for call in site.calls("squeue"))
    assert [] == site.calls("sacct")


async def test_nobody_is_asked_while_nothing_is_followed(site: Site) -> None:
    site.says("squeue", row("1", "RUNNING"))
    async with polling(site, "1") as poller:
        await has(poller, "1", lambda seen: seen.state == "RUNNING")
        poller.drop("1")
        # One that is under way may still come.
        await until(lambda: time.time() - site.last_call("squeue") > 1, "nobody is asked any more")
        assert poller.seen("1") is None


async def test_many_jobs_are_asked_about_in_parts(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poll, "TOGETHER", 2)
    site.says("squeue", "".join(row(str(job), "RUNNING") for job in range(1, 6)))
    async with polling(site, *"12345") as poller:
        await has(poller, "5", lambda seen: seen.state == "RUNNING")

    asked = [call.rpartition("--jobs=")[2] for call in site.calls("squeue")]
    assert ["1,2", "3,4", "5"] == asked[:3]


async def test_what_was_seen_stays_while_the_controller_is_down(site: Site) -> None:
    site.says("squeue", row("1", "RUNNING"))
    async with polling(site, "1") as poller:
        seen = await has(poller, "1", lambda seen: seen.state == "RUNNING")
        site.says("squeue", error=DOWN)
        await until(lambda: poller.trouble is not None, "it is noticed")
        await rounds(site)

        down = poller.seen("1")
        assert down is not None
        assert replace(seen, asked_at=0) == replace(down, asked_at=0)

        site.says("squeue", row("1", "COMPLETING"))
        await has(poller, "1", lambda seen: seen.flags == ("COMPLETING",))
        assert poller.trouble is None


async def test_what_cannot_be_read_is_no_answer(site: Site) -> None:
    site.says("squeue", row("1", "RUNNING"))
    async with polling(site, "1") as poller:
        await has(poller, "1", lambda seen: seen.state == "RUNNING")
        site.says("squeue", "1  debug  wrap  ada  R  0:01  1 n1\n")
        await until(lambda: poller.trouble is not None, "it is noticed")

        seen = poller.seen("1")
        assert poller.trouble is not None
        assert "slurm_garbled" == poller.trouble.reason
        assert seen is not None
        assert not seen.gone


async def test_the_accounts_are_read_once_for_a_job_that_has_ended(site: Site) -> None:
    site.says("squeue", row("1", "FAILED", code="1792", restarts=1) + row("2", "RUNNING"))
    site.says("sacct", account("1", "FAILED", "7:0"))
    async with polling(site, "1", "2") as poller:
        seen = await has(poller, "1", lambda seen: seen.accounted)
        await rounds(site, 4)
        await has(poller, "2", lambda seen: seen.state == "RUNNING")

    assert ("FAILED", 7, 1, 1) == (seen.state, seen.exit_code, seen.restarts, len(seen.steps))
    (call,) = site.calls("sacct")
    assert "--jobs=1" in call.split()
    assert "--starttime=" in call


async def test_accounts_that_are_late_are_asked_for_again(site: Site) -> None:
    site.says("squeue", row("1", "COMPLETED"))
    site.says("sacct", account("1", "RUNNING"))
    async with polling(site, "1") as poller:
        await rounds(site, 2, "sacct")
        seen = await has(poller, "1", lambda seen: seen.state == "COMPLETED")
        assert not seen.accounted
        site.says("sacct", account("1", "COMPLETED"))

        await has(poller, "1", lambda seen: seen.accounted)


async def test_a_job_that_the_controller_forgot_is_found_in_the_accounts(site: Site) -> None:
    site.says("squeue", error=UNKNOWN)
    site.says("sacct", account("1", "CANCELLED by 1000", "0:15"))
    async with polling(site, "1") as poller:
        seen = await has(poller, "1", lambda seen: seen.accounted)

    assert ("CANCELLED", "1000", 15, False) == (seen.state, seen.cancelled_by, seen.signal, seen.gone)


async def test_a_job_that_nobody_knows_is_gone_and_what_was_seen_stays(site: Site) -> None:
    site.says("squeue", row("1", "RUNNING") + row("2", "RUNNING"))
    async with polling(site, "1", "2") as poller:
        await has(poller, "1", lambda seen: seen.state == "RUNNING")
        site.says("squeue", row("2", "RUNNING"))
        seen = await has(poller, "1", lambda seen: seen.gone)

        assert ("RUNNING", ("n1",)) == (seen.state, seen.nodes)
        site.says("squeue", row("1", "PENDING", restarts=1))
        assert not (await has(poller, "1", lambda seen: seen.state == "PENDING")).gone


async def test_a_job_is_not_gone_while_the_accounts_cannot_be_read(site: Site) -> None:
    site.says("squeue", row("1", "RUNNING"))
    site.says("sacct", error=DATABASE_DOWN)
    async with polling(site, "1") as poller:
        await has(poller, "1", lambda seen: seen.state == "RUNNING")
        site.says("squeue", error=UNKNOWN)
        await rounds(site, 3, "sacct")

        seen = poller.seen("1")
        assert seen is not None
        assert not seen.gone
        site.says("sacct")
        await has(poller, "1", lambda seen: seen.gone)


async def test_without_accounting_only_the_controller_is_asked(site: Site) -> None:
    site.says("squeue", row("1", "COMPLETED"))
    site.says("sacct", error="Slurm accounting storage is disabled")
    async with polling(site, "1") as poller:
        await has(poller, "1", lambda seen: seen.state == "COMPLETED")
        await rounds(site, 3)
        site.says("squeue", error=UNKNOWN)
        seen = await has(poller, "1", lambda seen: seen.gone)

    assert ("COMPLETED", False) == (seen.state, seen.accounted)
    assert 1 == len(site.calls("sacct"))


async def test_one_unknown_job_does_not_make_the_others_unknown(site: Site) -> None:
    site.says("squeue", row("1", "RUNNING") + row("2", "RUNNING"))
    path = site.folder / "bin" / "squeue"
    strict = f'case "$*" in *1,2*) echo "{UNKNOWN}" >&2; exit 1;; esac'
    path.write_text(path.read_text().replace("#!/bin/sh\n", f"#!/bin/sh\n{strict}\n"))
    async with polling(site, "1", "2") as poller:
        await has(poller, "1", lambda seen: seen.state == "RUNNING")


async def test_a_job_that_is_put_back_into_the_queue_waits_again(site: Site) -> None:
    site.says("squeue", row("1", "NODE_FAIL"))
    site.says("sacct", account("1", "NODE_FAIL"))
    async with polling(site, "1") as poller:
        await has(poller, "1", lambda seen: seen.accounted)
        site.says("squeue", row("1", "PENDING", restarts=1, nodes=""))
        seen = await has(poller, "1", lambda seen: seen.state == "PENDING")

    assert (1, False) == (seen.restarts, seen.accounted)


async def test_a_look_does_not_wait_for_the_next_round(site: Site) -> None:
    site.says("squeue", row("1", "RUNNING"))
    async with polling(site, "1", pace=Pace(quick_s=0.02, slow_s=600, growth=1e6)) as poller:
        await has(poller, "1", lambda seen: seen.state == "RUNNING")
        site.says("squeue", row("1", "COMPLETING"))
        poller.look()

        await has(poller, "1", lambda seen: seen.flags == ("COMPLETING",))


async def test_a_look_that_comes_too_early_is_not_the_last(site: Site) -> None:
    site.says("squeue", row("1", "RUNNING"))
    async with polling(site, "1", pace=Pace(quick_s=0.02, slow_s=600, growth=20)) as poller:
        await has(poller, "1", lambda seen: seen.state == "RUNNING")
        await asyncio.sleep(1.0)
        poller.look()
        await rounds(site, 1)
        site.says("squeue", row("1", "COMPLETING"))

        await has(poller, "1", lambda seen: seen.flags == ("COMPLETING",))


async def test_looks_do_not_trouble_a_controller_that_is_down(site: Site) -> None:
    site.says("squeue", error=DOWN)
    async with polling(site, "1", pace=Pace(quick_s=0.1, down_s=600)) as poller:
        await until(lambda: poller.trouble is not None, "it is noticed")
        for _ in range(100):
            poller.look()
            await asyncio.sleep(0.01)

    assert len(site.calls("squeue")) <= 4


@pytest.mark.parametrize("state", ["PENDING", "RUNNING"])
async def test_a_job_that_is_about_to_start_or_end_is_not_missed(site: Site, state: str) -> None:
    soon = (datetime.now(UTC) + timedelta(seconds=4)).strftime("%Y-%m-%dT%H:%M:%S")
    site.says("squeue", f"1|1|{state}|None|n1|0|0|{soon}|{soon}|\n")
    async with polling(site, "1", pace=Pace(quick_s=0.1, slow_s=600, growth=1e6)) as poller:
        await has(poller, "1", lambda seen: seen.state == state)
        site.says("squeue", row("1", "COMPLETING"))

        await has(poller, "1", lambda seen: seen.flags == ("COMPLETING",))


async def test_a_slow_controller_is_asked_less_often(site: Site) -> None:
    path = site.folder / "bin" / "squeue"
    path.write_text(path.read_text().replace("#!/bin/sh", "#!/bin/sh\nsleep 0.1"))
    began = time.monotonic()
    async with polling(site, "1", pace=Pace(quick_s=0.01, share=0.2)):
        await until(lambda: len(site.calls("squeue")) == 3, "it is asked three times")

    assert time.monotonic() - began > 2 * 0.5
