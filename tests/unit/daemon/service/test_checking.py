"""CheckSpec through a real socket: all that is wrong with a project.yaml, and exactly where."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest

from pollinator.v1.project_pb2 import CheckSpecRequest, Problem
from pollinator.v1.run_pb2 import Severity
from pollinator.wire.errors import InvalidInput, NotFound, PollinatorError
from pollinator.wire.status import to_error
from support.opening import Place

GOOD = "projectname: p\nenvironment:\n  cmd: python3\n  source: main.py\n"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(tmp_path)
    (place.root / "cfs/src/main.py").touch()
    return place


async def check(place: Place, text: str | None) -> list[Problem]:
    request = CheckSpecRequest(root=str(place.root), text=text)
    async with place.daemon() as daemon, daemon.served() as stub:
        return list((await stub.CheckSpec(request, wait_for_ready=True)).problems)


async def refusal(place: Place, request: CheckSpecRequest) -> PollinatorError:
    async with place.daemon() as daemon, daemon.served() as stub:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.CheckSpec(request, wait_for_ready=True)
    return to_error(caught.value)


async def wrong(place: Place, text: str) -> list[tuple[int, int, int, str]]:
    problems = await check(place, text)

    assert all((each.path, each.severity) == ("project.yaml", 0) for each in problems)
    return [(each.line, each.column, each.end_column, each.code) for each in problems]


async def test_nothing_is_wrong_with_what_can_be_run(place: Place) -> None:
    assert [] == await check(place, GOOD)
    assert [] == await check(place, None)


async def test_all_that_is_wrong_is_told_from_top_to_bottom(place: Place) -> None:
    text = "sorce: x\nconditions:\n  nodes: 0\n  nodes: 1\n  mem: lots of it\nenvironment: {env: {A-B: 1}}\n"

    assert [
        (1, 1, 6, "unknown_key"),
        (1, 1, 0, "missing_key"),
        (1, 1, 0, "missing_key"),
        (3, 10, 11, "bad_value"),
        (4, 3, 8, "repeated_key"),
        (5, 8, 18, "bad_value"),
        (6, 21, 24, "bad_key"),
    ] == await wrong(place, text)


async def test_what_to_write_is_told_apart_from_what_is_wrong(place: Place) -> None:
    (problem,) = await check(place, GOOD + "conditons: 1\n")

    assert "unknown key 'conditons'" == problem.message
    assert "did you mean 'conditions'?" == problem.hint


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("a: [", "bad_yaml"),
        ("", "bad_yaml"),
        ("- a", "bad_yaml"),
        ("a: \x01", "bad_yaml"),
        ("a: b: c", "bad_yaml"),
    ],
)
async def test_a_text_that_is_no_mapping_is_told_as_that(place: Place, text: str, code: str) -> None:
    assert [code] == [each[-1] for each in await wrong(place, text)]


@pytest.mark.parametrize(
    "broken", ["environment:\n  cmd: [\n", "environment\n", "environment: *x\n", "a: \x01\n"]
)
async def test_above_a_place_that_is_broken_what_is_wrong_is_still_told(place: Place, broken: str) -> None:
    found = await wrong(place, "colour: red\nconditions:\n  nodes: 0\n" + broken)

    assert [(1, 1, 7, "unknown_key"), (3, 10, 11, "bad_value")] == found[:2]
    assert ["bad_yaml"] == [each[-1] for each in found[2:]]


async def test_a_program_that_is_not_there_or_left_out_is_pointed_at(place: Place) -> None:
    assert [(4, 11, 18, "source_missing")] == await wrong(place, GOOD.replace("main.py", "none.py"))
    (place.root / ".pollinatorignore").write_text("*.py\n")
    (problem,) = await check(place, GOOD)

    assert "cfs/src/main.py is left out by an ignore rule" == problem.message


@pytest.mark.parametrize(
    ("names", "hint"),
    [
        ("[lummi]", "did you mean 'lumi'?"),
        ("[x, y]", "known are local, lumi"),
        ("[x, lumi]", None),
        ("[]", None),
    ],
)
async def test_of_an_executor_that_nobody_knows_is_warned(place: Place, names: str, hint: str | None) -> None:
    text = GOOD + f"conditions:\n  executorNames: {names}\n"
    problems = await check(place, text)

    assert [hint] * (hint is not None) == [each.hint for each in problems]
    for each in problems:
        assert (6, 18, 18 + len(names)) == (each.line, each.column, each.end_column)
        assert ("executor_unknown", Severity.SEVERITY_WARNING) == (each.code, each.severity)


async def test_a_colony_may_know_executors_that_nobody_here_knows(place: Place) -> None:
    request = CheckSpecRequest(root=str(place.root), text=GOOD + "conditions: {executorNames: [x]}\n")
    async with place.daemon() as daemon, daemon.served() as stub:
        daemon.executors = None
        answer = await stub.CheckSpec(request, wait_for_ready=True)

    assert not answer.problems


async def test_the_file_on_disk_is_looked_at_without_a_text(place: Place) -> None:
    (place.root / "project.yaml").write_bytes(b"projectname: \xff\n")
    (problem,) = await check(place, None)

    assert (1, 14, "bad_yaml") == (problem.line, problem.column, problem.code)


async def test_there_must_be_a_project_or_a_text(place: Place) -> None:
    (place.root / "project.yaml").unlink()

    assert isinstance(await refusal(place, CheckSpecRequest(root=str(place.root))), NotFound)
    assert isinstance(await refusal(place, CheckSpecRequest(root="here", text=GOOD)), InvalidInput)
    assert [] == await check(place, GOOD)
