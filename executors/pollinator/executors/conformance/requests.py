"""What every executor answers about runs: which requests it takes, how runs are found and forgotten."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from pollinator.executors.conformance.asking import make_spec, new_id, start_request
from pollinator.executors.conformance.client import CALL_S, ExecutorUnderTest
from pollinator.v1.executor_pb2 import ExplainRequest
from pollinator.v1.run_pb2 import (
    ForgetRunRequest,
    GetRunRequest,
    ListRunsRequest,
    Run,
    RunState,
    Secret,
    StartRunRequest,
)
from pollinator.v1.spec_pb2 import EnvironmentVariable, RunSpec
from pollinator.v1.store_pb2 import StoreSettings
from pollinator.v1.tree_pb2 import SnapshotRef
from pollinator.wire.errors import PollinatorError
from pollinator.wire.status import to_error

Change = Callable[[StartRunRequest], object]
SNAPSHOT = SnapshotRef(digest=bytes(32), key=f"s/00/{'0' * 64}")


@pytest.fixture(scope="module")
async def runs(executor: ExecutorUnderTest) -> AsyncIterator[list[Run]]:
    """Its seven newest runs, the newest first, of which that one has not ended."""
    ended = [(await executor.run("print('hello')")).run for _ in range(6)]
    going = await executor.begin("import time; time.sleep(60)")
    await executor.reached(going.id, RunState.RUN_STATE_RUNNING)
    yield [await executor.get(run.id) for run in (going, *reversed(ended))]
    await executor.cancel(going.id)
    await executor.follow(going.id)


def since(runs: list[Run], **wishes: Any) -> ListRunsRequest:
    """Of all its runs those, for it may have had others before."""
    return ListRunsRequest(since=runs[-1].accept_time, **wishes)


def ids(runs: list[Run]) -> list[str]:
    return [run.id for run in runs]


async def listed(executor: ExecutorUnderTest, request: ListRunsRequest) -> list[str]:
    """Ids of all pages."""
    found: list[str] = []
    while True:
        answer = await executor.runs.ListRuns(request, timeout=CALL_S)
        assert not request.page_size or len(answer.runs) <= request.page_size
        found += [run.id for run in answer.runs]
        if not answer.next_page_token:
            return found
        request.page_token = answer.next_page_token


async def refused(executor: ExecutorUnderTest, request: StartRunRequest) -> PollinatorError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await executor.runs.StartRun(request, timeout=CALL_S)
    return to_error(caught.value)


# Finding


async def test_all_runs_are_listed_newest_first(executor: ExecutorUnderTest, runs: list[Run]) -> None:
    answer = await executor.runs.ListRuns(since(runs), timeout=CALL_S)

    assert runs == list(answer.runs)


@pytest.mark.parametrize("size", [1, 2, 3, 6, 7, 8, 4_000_000_000])
async def test_pages_hold_every_run_once(executor: ExecutorUnderTest, runs: list[Run], size: int) -> None:
    assert ids(runs) == await listed(executor, since(runs, page_size=size))


async def test_runs_that_have_not_ended_can_be_asked_for(
    executor: ExecutorUnderTest, runs: list[Run]
) -> None:
    assert ids(runs[:1]) == await listed(executor, ListRunsRequest(active=True))


async def test_it_says_how_many_runs_have_not_ended(executor: ExecutorUnderTest, runs: list[Run]) -> None:
    assert runs
    assert 1 == (await executor.describe()).active_runs


async def test_runs_since_a_time_can_be_asked_for(executor: ExecutorUnderTest, runs: list[Run]) -> None:
    assert ids(runs[:3]) == await listed(executor, ListRunsRequest(since=runs[2].accept_time))
    future = Timestamp(seconds=runs[0].accept_time.seconds + 60)
    assert [] == await listed(executor, ListRunsRequest(since=future))


async def test_runs_of_a_folder_that_is_not_here_are_none(
    executor: ExecutorUnderTest, runs: list[Run]
) -> None:
    assert runs
    assert [] == await listed(executor, ListRunsRequest(root="/home/ada/demo"))


async def test_runs_can_be_completed_from_the_beginning_of_an_id(
    executor: ExecutorUnderTest, runs: list[Run]
) -> None:
    shortest = unique_prefix(runs[3].id, await listed(executor, ListRunsRequest()))

    assert ids(runs[3:4]) == await listed(executor, ListRunsRequest(id_prefix=shortest))
    assert ids(runs) == await listed(executor, since(runs, id_prefix=runs[0].id[:3], page_size=2))


async def test_the_beginning_of_an_id_is_enough(executor: ExecutorUnderTest, runs: list[Run]) -> None:
    known = await listed(executor, ListRunsRequest())
    for run in runs:
        assert run == await executor.get(run.id)
        assert run == await executor.get(unique_prefix(run.id, known))
    prefix = unique_prefix(runs[0].id, known)
    explained = await executor.about.Explain(ExplainRequest(run_id=prefix), timeout=CALL_S)
    assert not explained.HasField("pending")


async def test_a_beginning_that_fits_several_runs_is_refused(
    executor: ExecutorUnderTest, runs: list[Run]
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await executor.get(runs[0].id[:3])

    assert grpc.StatusCode.INVALID_ARGUMENT == caught.value.code()
    assert "run_ambiguous" == to_error(caught.value).reason


async def test_the_latest_run_is_the_newest(executor: ExecutorUnderTest, runs: list[Run]) -> None:
    assert runs[0] == await executor.get("latest")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await executor.runs.GetRun(GetRunRequest(run_id="latest", root="/elsewhere"), timeout=CALL_S)
    assert grpc.StatusCode.NOT_FOUND == caught.value.code()


def unique_prefix(name: str, names: list[str]) -> str:
    for length in range(1, len(name)):
        if sum(each.startswith(name[:length]) for each in names) == 1:
            return name[:length]
    return name


# Forgetting


async def test_a_run_that_has_not_ended_cannot_be_forgotten(
    executor: ExecutorUnderTest, runs: list[Run]
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await executor.runs.ForgetRun(ForgetRunRequest(run_id=runs[0].id), timeout=CALL_S)

    assert grpc.StatusCode.FAILED_PRECONDITION == caught.value.code()
    assert "run_active" == to_error(caught.value).reason


async def test_a_run_that_was_forgotten_lately_can_still_be_looked_at(
    executor: ExecutorUnderTest, runs: list[Run]
) -> None:
    for _ in range(2):
        await executor.runs.ForgetRun(ForgetRunRequest(run_id=runs[1].id), timeout=CALL_S)

    assert {0: b"hello\n"} == (await executor.follow(runs[1].id)).output


async def test_forgetting_what_is_not_known_is_an_error(executor: ExecutorUnderTest) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await executor.runs.ForgetRun(ForgetRunRequest(run_id=new_id()), timeout=CALL_S)

    assert grpc.StatusCode.NOT_FOUND == caught.value.code()


# Requests that cannot be meant


BAD_SOURCES: dict[str, Change] = {
    "snapshot.run_id": lambda request: request.snapshot.ClearField("run_id"),
    "snapshot.snapshot.key": lambda request: request.snapshot.snapshot.ClearField("key"),
    "snapshot.snapshot.digest": lambda request: request.snapshot.snapshot.ClearField("digest"),
    "snapshot.store": lambda request: request.snapshot.store.CopyFrom(StoreSettings()),
    "snapshot.spec.project": lambda request: request.snapshot.spec.ClearField("project"),
}


@pytest.mark.parametrize("field", BAD_SOURCES)
async def test_a_field_that_is_missing_is_named(executor: ExecutorUnderTest, field: str) -> None:
    request = start_request(make_spec(), SNAPSHOT)
    BAD_SOURCES[field](request)
    error = await refused(executor, request)

    assert ("INVALID_ARGUMENT", "source_incomplete") == (error.code, error.reason)
    assert [field] == [each.where for each in error.violations]


@pytest.mark.parametrize("name", ["../x", "a/b", "a b", "é", "x" * 65, ".", "-rf", "a\n", "a\0b"])
async def test_what_is_no_id_of_a_run_is_refused(executor: ExecutorUnderTest, name: str) -> None:
    request = start_request(make_spec(), SNAPSHOT)
    request.snapshot.run_id = name
    error = await refused(executor, request)

    assert ("INVALID_ARGUMENT", "bad_run_id") == (error.code, error.reason)
    assert ["snapshot.run_id"] == [each.where for each in error.violations]


async def test_a_snapshot_or_project_that_leads_elsewhere_is_refused(executor: ExecutorUnderTest) -> None:
    bad_key = start_request(make_spec(), SnapshotRef(digest=bytes(32), key="../../etc/passwd"))
    bad_project = start_request(make_spec(project="../other"), SNAPSHOT)

    assert "bad_key" == (await refused(executor, bad_key)).reason
    assert "INVALID_ARGUMENT" == (await refused(executor, bad_project)).code


async def test_a_project_is_not_for_an_executor(executor: ExecutorUnderTest) -> None:
    request = StartRunRequest(request_id=new_id())
    request.project.root = "/home/ada/demo"
    error = await refused(executor, request)

    assert ("INVALID_ARGUMENT", "source_unsupported") == (error.code, error.reason)


BAD_SPECS: dict[str, RunSpec] = {
    "conditions.nodes": make_spec(nodes=0),
    "conditions.processesPerNode": make_spec(processes_per_node=0),
    "environment.cmd": make_spec(command="  "),
    "environment.source": make_spec(source="../../etc/passwd"),
    "environment.args": make_spec(arguments=["a\0b"]),
    "conditions.mem": make_spec(memory_bytes=1 << 60),
}


@pytest.mark.parametrize("field", BAD_SPECS)
async def test_a_spec_that_cannot_run_is_refused_and_leaves_no_run(
    executor: ExecutorUnderTest, field: str
) -> None:
    request = start_request(BAD_SPECS[field], SNAPSHOT)
    error = await refused(executor, request)

    assert "INVALID_ARGUMENT" == error.code
    assert [field] == [each.where for each in error.violations]
    assert request.snapshot.run_id not in await listed(executor, ListRunsRequest())


@pytest.mark.parametrize("command", ["python3 'open", "python3 \\", '"'])
async def test_a_command_that_cannot_be_split_is_refused(executor: ExecutorUnderTest, command: str) -> None:
    error = await refused(executor, start_request(make_spec(command=command), SNAPSHOT))

    assert ["environment.cmd"] == [each.where for each in error.violations]


@pytest.mark.parametrize("name", ["", "A=B", "1A", "A B", "A\0", "RANK", "MASTER_PORT", "POLLINATOR_RUN_ID"])
async def test_a_variable_that_cannot_be_set_is_refused(executor: ExecutorUnderTest, name: str) -> None:
    variable = EnvironmentVariable(name=name, value="x")
    by_spec = await refused(executor, start_request(make_spec(environment=[variable]), SNAPSHOT))
    request = start_request(make_spec(), SNAPSHOT)
    request.secrets.append(Secret(name=name, value="hunter2"))
    by_secret = await refused(executor, request)

    assert [f"environment.env.{name}"] == [each.where for each in by_spec.violations]
    assert [f"secrets.{name}"] == [each.where for each in by_secret.violations]
    assert "hunter2" not in f"{by_secret.message}{by_secret.violations}{by_secret.hint}"


async def test_a_value_that_no_program_can_be_given_is_refused(executor: ExecutorUnderTest) -> None:
    variable = EnvironmentVariable(name="A", value="a\0b")
    by_spec = await refused(executor, start_request(make_spec(environment=[variable]), SNAPSHOT))
    request = start_request(make_spec(), SNAPSHOT)
    request.secrets.append(Secret(name="A", value="hunter2\0"))
    by_secret = await refused(executor, request)

    assert ["environment.env.A"] == [each.where for each in by_spec.violations]
    assert ["secrets.A"] == [each.where for each in by_secret.violations]
    assert "hunter2" not in f"{by_secret.message}{by_secret.violations}{by_secret.hint}"


async def test_a_container_that_is_required_and_cannot_be_had_is_refused(executor: ExecutorUnderTest) -> None:
    if "containers" not in executor.without:
        pytest.skip(f"{executor.name} has containers")
    error = await refused(
        executor, start_request(make_spec(image="ubuntu:24.04", require_container=True), SNAPSHOT)
    )

    assert ["environment.docker"] == [each.where for each in error.violations]
    assert error.hint
