"""What was written before the machine started is not believed: a power cut may have left half of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pollinator.executors import boot, lifecycle
from pollinator.executors.base import Job
from pollinator.executors.boot import boot_id
from pollinator.v1.run_pb2 import RunState
from support.hosting import Place, hosting, place, story

__all__ = ["place"]

QUEUED = RunState.RUN_STATE_QUEUED
SUCCEEDED = RunState.RUN_STATE_SUCCEEDED


def other_boot() -> str:
    return "of the next start"


@pytest.fixture
def main_file(place: Place) -> Path:
    return place.folder() / "work" / "src" / "main.py"


def handed_over(place: Place, file: Path, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What a file holds whenever the run is handed to the backend."""
    found: list[bytes] = []

    def note(job: Job, secrets: dict[str, str]) -> None:
        found.append(file.read_bytes())

    monkeypatch.setattr(place.backend, "submit", note)
    return found


def tear(path: Path) -> None:
    path.write_bytes(b"")


async def cut_short(place: Place, main_file: Path) -> None:
    """Power goes off while a run waits, before its files reached the disk."""
    async with hosting(place) as host:
        await host.runs.StartRun(place.request(src={b"main.py": b"print(1)"}))
        await host.state(QUEUED)
    tear(main_file)


async def test_a_run_that_waited_when_the_power_went_off_has_its_files_laid_out_again(
    place: Place, main_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await cut_short(place, main_file)
    found = handed_over(place, main_file, monkeypatch)
    monkeypatch.setattr(lifecycle, "boot_id", other_boot)
    place.backend.end()
    async with hosting(place) as host:
        await host.state(SUCCEEDED)

        assert ["LAUNCHING", "QUEUED", "COLLECTING", "SUCCEEDED"] == await story(host)
    assert [b"print(1)"] == found


@pytest.mark.parametrize("written", ["", "of the start before"])
async def test_a_mark_that_names_no_start_or_another_one_is_not_believed(
    place: Place, main_file: Path, monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    await cut_short(place, main_file)
    (place.folder() / "laid-out").write_text(written)
    found = handed_over(place, main_file, monkeypatch)
    place.backend.end()
    async with hosting(place) as host:
        await host.state(SUCCEEDED)

    assert [b"print(1)"] == found


async def test_files_are_not_laid_out_again_while_the_machine_runs(place: Place, main_file: Path) -> None:
    await cut_short(place, main_file)
    place.store.gets.clear()
    async with hosting(place) as host:
        await host.state(QUEUED)

        assert [] == place.store.gets
    assert ["run1", "run1"] == [run for run, _ in place.backend.submitted]


async def test_files_are_left_alone_once_ranks_have_begun(
    place: Place, main_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await cut_short(place, main_file)
    (place.folder() / "started.json").touch()
    place.store.gets.clear()
    monkeypatch.setattr(lifecycle, "boot_id", other_boot)
    async with hosting(place) as host:
        await host.state(QUEUED)

        assert [] == place.store.gets


def test_it_stays_the_same_and_is_that_of_this_machine() -> None:
    assert boot_id() == boot_id() == Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def test_where_linux_does_not_tell_the_system_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sysctl").write_text("#!/bin/sh\necho session of $2\n")
    (tmp_path / "sysctl").chmod(0o755)
    monkeypatch.setattr(boot, "_LINUX", tmp_path / "none")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    assert "session of kern.bootsessionuuid" == boot_id()


def test_where_nobody_tells_it_is_believed_as_long_as_this_process_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boot, "_LINUX", tmp_path / "none")
    monkeypatch.setenv("PATH", str(tmp_path))

    assert boot_id() == boot_id() != ""
