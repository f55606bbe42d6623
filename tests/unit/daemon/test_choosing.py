"""Which executor a run goes to."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from pollinator.daemon.registry import Registry
from pollinator.v1.spec_pb2 import RunSpec
from pollinator.wire.errors import AlreadyExists, InvalidInput


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


@pytest.mark.parametrize(
    ("asked", "names", "kind", "expected"),
    [
        ("", [], "", "local"),
        ("", ["local"], "", "local"),
        ("", ["lumi", "local"], "", "local"),
        ("", [], "local", "local"),
        ("local", ["lumi"], "", "local"),
        ("", ["lumi"], "", "colonies"),
        ("", [], "container-executor", "colonies"),
        ("lumi", ["local"], "", "colonies"),
        ("colonies", ["local"], "", "colonies"),
    ],
)
async def test_what_nobody_here_knows_is_for_the_colony(
    registry: Registry, asked: str, names: list[str], kind: str, expected: str
) -> None:
    spec = RunSpec(executor_names=names, executor_type=kind)

    assert expected == registry.for_run(asked, spec, colony=True).place.name


async def test_a_run_that_says_where_in_a_colony_it_is_to_be_goes_there(registry: Registry) -> None:
    spec = RunSpec(location="Lund")

    assert "colonies" == registry.for_run("", spec, colony=True).place.name
    assert "local" == registry.for_run("", spec, colony=False).place.name
    assert "local" == registry.for_run("local", spec, colony=True).place.name


@pytest.mark.parametrize(
    ("asked", "reason"),
    [("", "executor_missing"), ("hub", "executor_missing"), ("colonies", "colony_missing")],
)
def test_without_a_colony_it_is_refused(registry: Registry, asked: str, reason: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        registry.for_run(asked, RunSpec(executor_names=["lumi"]), colony=False)

    assert reason == caught.value.reason
    assert ["local"] == registry.names()


async def test_the_executor_for_colonies_is_of_this_machine(registry: Registry) -> None:
    registry.colonies()

    assert ["colonies", "local"] == registry.names()
    with pytest.raises(AlreadyExists):
        registry.add("colonies", "unix:/x.sock", "", {})
    with pytest.raises(InvalidInput, match="belongs to this machine"):
        await registry.remove("colonies", busy=False)


def test_no_name_is_the_default(registry: Registry) -> None:
    assert registry.get("") is registry.get("local")
    assert ["local"] == registry.names()
