"""What ``pollinator doctor`` finds out at the daemon."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from pollinator.daemon.checks import diagnose
from pollinator.daemon.registry import Registry
from pollinator.daemon.sync.projects import read_spec
from pollinator.v1.daemon_pb2 import Check, CheckStatus
from pollinator.v1.executor_pb2 import Capabilities, Executor
from pollinator.wire.errors import PollinatorError, Unavailable
from support.opening import Place

OK, WARNING, FAILED = (
    CheckStatus.CHECK_STATUS_OK,
    CheckStatus.CHECK_STATUS_WARNING,
    CheckStatus.CHECK_STATUS_FAILED,
)


@dataclass
class OneExecutor:
    """A registry of one executor, which is up or has a trouble."""

    trouble: PollinatorError | None = None
    offer: Capabilities = field(
        default_factory=partial(
            Capabilities, cpu_millis=2000, memory_bytes=4 << 30, memory_source="cgroup-v2"
        )
    )

    def names(self) -> list[str]:
        return ["local"]

    def get(self, name: str) -> OneExecutor:
        return self

    async def ensure(self) -> None:
        if self.trouble is not None:
            raise self.trouble

    async def describe(self) -> Executor:
        return Executor(capabilities=self.offer)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "state" / "pollinator").mkdir(parents=True)
    return Place(tmp_path)


def disk(free: int) -> Callable[[Path], SimpleNamespace]:
    """A disk with so many free bytes."""

    def usage(path: Path) -> SimpleNamespace:
        return SimpleNamespace(free=free)

    return usage


async def found(place: Place, registry: OneExecutor, root: str = "") -> dict[str, Check]:
    """All checks by name, with the project open and in sync."""
    async with place.daemon() as daemon:
        project = await daemon.projects.open(place.root, place.store("s"))
        await project.worker.seal(read_spec(place.root), strict=False, git_commit="")
        checks = await diagnose(daemon.projects, cast("Registry", registry), root)
        return {check.name: check for check in checks}


async def test_when_all_is_well_every_check_says_what_was_found(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", disk(1 << 40))

    checks = await found(place, OneExecutor())

    assert ["disk", "executor local", "project p", "store of p"] == list(checks)
    assert {OK} == {check.status for check in checks.values()}
    assert "2 cores, 4.0 GiB, memory limited by cgroup-v2" == checks["executor local"].detail
    assert "0 files watched by" in checks["project p"].detail
    assert str(place.folder / "s") in checks["store of p"].detail


async def test_of_an_executor_whose_machines_are_not_known_no_size_is_told(place: Place) -> None:
    checks = await found(place, OneExecutor(offer=Capabilities(memory_source="cgroup-v2")))

    assert "memory limited by cgroup-v2" == checks["executor local"].detail


@pytest.mark.parametrize(("free", "status"), [(3 << 30, OK), (1 << 30, WARNING)])
async def test_a_disk_that_is_almost_full_is_a_warning_with_a_hint(
    place: Place, monkeypatch: pytest.MonkeyPatch, free: int, status: CheckStatus.ValueType
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", disk(free))

    check = (await found(place, OneExecutor()))["disk"]

    assert status == check.status
    assert bool(check.hint) == (status == WARNING)


async def test_an_executor_that_does_not_come_up_has_failed_with_its_hint(place: Place) -> None:
    trouble = Unavailable("it does not start", reason="executor_down", hint="its log is /x")

    check = (await found(place, OneExecutor(trouble)))["executor local"]

    assert (FAILED, "it does not start", "its log is /x") == (check.status, check.detail, check.hint)


async def test_only_the_project_that_was_named_is_looked_at(place: Place) -> None:
    assert "project p" in await found(place, OneExecutor(), str(place.root))
    assert ["disk", "executor local"] == list(await found(place, OneExecutor(), "/elsewhere"))


async def test_a_project_that_is_gone_and_a_store_that_is_no_folder_have_failed(place: Place) -> None:
    async with place.daemon() as daemon:
        await daemon.projects.open(place.root, place.store("s"))
        (place.root / "project.yaml").unlink()
        shutil.rmtree(place.folder / "s", ignore_errors=True)
        (place.folder / "s").write_text("in the way")
        checks = await diagnose(daemon.projects, cast("Registry", OneExecutor()), "")

    assert {"project p": FAILED, "store of p": FAILED} == {
        check.name: check.status for check in checks if check.name.endswith(" p")
    }
    assert "is gone" in checks[2].detail
