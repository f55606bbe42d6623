"""Which executor a run goes to, and what an executor's process may know."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from pollinator.daemon.reach.local import executor_environment
from pollinator.daemon.registry import ExecutorLink, Registry
from pollinator.wire.errors import InvalidInput, Unavailable


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncGenerator[Registry]:
    registry = Registry(tmp_path / "executors")
    yield registry
    await registry.close()


@pytest.mark.parametrize(
    ("names", "kind"),
    [([], ""), (["local"], ""), (["lumi", "local"], ""), ([], "local"), (["local"], "slurm")],
)
def test_the_first_known_name_decides_then_the_kind_then_the_default(
    registry: Registry, names: list[str], kind: str
) -> None:
    assert "local" == registry.choose(names, kind).place.name


@pytest.mark.parametrize(("names", "kind"), [(["lumi"], ""), (["lumi", "hub"], "local"), ([], "slurm")])
def test_an_executor_that_nobody_knows_is_refused_with_those_that_are_known(
    registry: Registry, names: list[str], kind: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        registry.choose(names, kind)

    assert "executor_missing" == caught.value.reason
    assert "known are: local" == caught.value.hint
    assert (names[:1] or [kind])[0] in caught.value.message


def test_no_name_is_the_default(registry: Registry) -> None:
    assert registry.get("") is registry.get("local")
    assert ["local"] == registry.names()


async def test_an_executor_that_does_not_run_says_nothing_and_is_not_started_for_a_question(
    registry: Registry, tmp_path: Path
) -> None:
    with pytest.raises(Unavailable):
        await registry.get("local").describe(0.5)

    assert not (tmp_path / "executors").exists()


async def test_an_executor_whose_process_ends_is_told_with_its_log(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    link: ExecutorLink = registry.get("local")

    with pytest.raises(Unavailable) as caught:
        await link.ensure()

    assert "executor_down" == caught.value.reason
    assert "its process ended with 1" in caught.value.message
    assert str(tmp_path / "executors/local/executor.log") in caught.value.hint


def test_credentials_of_the_daemon_do_not_reach_an_executor(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_S3_SECRETKEY", "AWS_SECRET_ACCESS_KEY", "COLONIES_PRVKEY", "POLLINATOR_CRASH_AT"):
        monkeypatch.setenv(name, "secret")
    monkeypatch.setenv("KEPT", "yes")

    environment = executor_environment()

    assert "secret" not in environment.values()
    assert ("yes", "0") == (environment["KEPT"], environment["GRPC_ENABLE_FORK_SUPPORT"])
