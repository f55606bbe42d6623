"""Runs that go to a colony where an executor takes them that is as the public ones are."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from pollinator.executors.conformance.asking import make_spec
from pollinator.executors.conformance.trees import Listing
from pollinator.v1.executor_pb2 import ExplainRequest, PreflightRequest
from pollinator.v1.run_pb2 import OutcomeReason, Run, Secret, StartRunRequest
from pollinator.wire.errors import PollinatorError
from pollinator.wire.status import to_error
from support.colonies.handing import Handing, handing
from support.colonies.playing import CANCELLED, FAILED
from support.colonies.public import Public
from support.colonies.sites import Site
from support.executing import CALL_S
from support.s3_servers import S3Server

pytestmark = pytest.mark.integration

IMAGE = "python:3.12"


@pytest.fixture
def public(colony: Site, colony_s3: S3Server) -> Public:
    return Public(colony, colony_s3)


@pytest.fixture(scope="module")
async def executor(colony: Site, colony_s3: S3Server) -> AsyncIterator[Handing]:
    seen = colony.seen_by(colony.user(), colony_s3.settings().s3)
    async with handing(seen, image=IMAGE) as one:
        yield one


async def taken(public: Public) -> dict[str, Any]:
    """The function spec of the process that the executor was given."""
    spec: dict[str, Any] = await asyncio.to_thread(public.take)
    return spec


async def begun(
    executor: Handing, public: Public, program: str = "", data: Listing | None = None, **changes: Any
) -> Run:
    """A run that this executor of the colony is to take."""
    return await executor.begins(program, data, **{"executor_names": [public.name], **changes})


async def refusal(executor: Handing, request: StartRunRequest) -> PollinatorError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await executor.ask(request)
    return to_error(caught.value)


async def test_a_run_goes_to_the_colony_and_comes_home(executor: Handing, public: Public) -> None:
    run = await begun(executor, public, "print('hello')")
    spec = await taken(public)
    files = await asyncio.to_thread(public.files)
    public.runs_on("n1", "n2")
    public.says("one\n", "two, ", "three\n")
    public.leaves({"r.txt": b"result", "deep/er/x": b"x", "empty": b"", "deep/none": b""})
    public.closes()
    ended = await executor.follow(run.id)
    found = await executor.results(ended.run)

    assert f"pollinator-{run.id}" == spec["label"]
    assert {"main.py": b"print('hello')"} == files
    assert {0: b"one\ntwo, three\n"} == ended.output
    assert ["LAUNCHING", "QUEUED", "RUNNING", "COLLECTING", "SUCCEEDED"] == [
        each for each in ended.states if each != "STARTING"
    ]
    assert ["n1", "n2"] == list(ended.run.nodes)
    assert {b"r.txt": b"result", b"deep/er/x": b"x", b"empty": b"", b"deep/none": b""} == {
        path: content for path, (kind, _, content) in found.items() if kind == "file"
    }


async def test_results_come_home_of_what_failed(executor: Handing, public: Public) -> None:
    run = await begun(executor, public)
    await taken(public)
    public.says("so far, so good\n")
    public.leaves({"partial": b"half"})
    public.fails("Exit with an error, exit code = 3")
    ended = await executor.follow(run.id)

    assert ("FAILED", 3) == (ended.states[-1], ended.run.outcome.exit_code)
    assert OutcomeReason.OUTCOME_REASON_EXIT_CODE == ended.run.outcome.reason
    assert {0: b"so far, so good\n"} == ended.output
    assert b"half" == (await executor.results(ended.run))[b"partial"][2]


async def test_a_run_that_leaves_nothing_has_empty_results(executor: Handing, public: Public) -> None:
    run = await begun(executor, public)
    await taken(public)
    public.closes()
    ended = await executor.follow(run.id)

    assert "SUCCEEDED" == ended.states[-1]
    assert {} == await executor.results(ended.run)


async def test_a_run_has_only_what_it_left_itself(executor: Handing, public: Public) -> None:
    for content in (b"first", b"second"):
        run = await begun(executor, public)
        await taken(public)
        public.leaves({content.decode(): content})
        public.closes()
        ended = await executor.follow(run.id)

        assert [content] == list(await executor.results(ended.run))


async def test_runs_with_other_data_do_not_disturb_each_other(
    executor: Handing, public: Public, colony: Site, colony_s3: S3Server
) -> None:
    data: list[dict[bytes, bytes]] = [{b"a": number, b"b": b"x"} for number in (b"1", b"2", b"1")]
    publics = [public, *(Public(colony, colony_s3) for _ in data[1:])]
    runs: list[Run] = []
    for one, listing in zip(publics, data, strict=True):
        runs.append(await begun(executor, one, data=listing))
        await taken(one)
    found = [await asyncio.to_thread(one.data) for one in publics]
    folders = [one.data_folder() for one in publics]
    for one, run in zip(publics, runs, strict=True):
        one.closes()
        await executor.follow(run.id)

    assert found == [
        {name.decode(): hashlib.sha256(content).hexdigest() for name, content in listing.items()}
        for listing in data
    ]
    assert folders[0] == folders[2] != folders[1]


async def test_output_is_seen_while_a_process_runs_also_of_hundreds_of_rows_at_once(
    executor: Handing, public: Public
) -> None:
    run = await begun(executor, public)
    await taken(public)
    public.says("first\n")
    await executor.printed(run.id, b"first\n")
    rows = [f"line {number}\n" for number in range(1200)]
    await asyncio.to_thread(public.says, *rows)
    public.closes()
    ended = await executor.follow(run.id)

    assert "".join(["first\n", *rows]).encode() == ended.output[0]


async def test_a_process_that_waits_is_cancelled(executor: Handing, public: Public) -> None:
    run = await begun(executor, public)
    await executor.reaches(run.id, "QUEUED")
    await executor.cancel(run.id)
    ended = await executor.follow(run.id)

    assert "CANCELLED" == ended.states[-1]
    assert "404" in str(public.play.assign().status)


async def test_a_process_that_runs_is_cancelled_and_keeps_what_was_there(
    executor: Handing, public: Public
) -> None:
    run = await begun(executor, public)
    await taken(public)
    public.says("begun\n")
    public.leaves({"partial": b"half"})
    await executor.printed(run.id, b"begun\n")
    await executor.cancel(run.id)
    ended = await executor.follow(run.id)

    assert "CANCELLED" == ended.states[-1]
    assert CANCELLED == public.state()
    assert b"half" == (await executor.results(ended.run))[b"partial"][2]


async def test_one_that_somebody_else_cancels_has_ended(executor: Handing, public: Public) -> None:
    run = await begun(executor, public)
    await taken(public)
    public.play.cancel(public.id)
    ended = await executor.follow(run.id)

    assert "CANCELLED" == ended.states[-1]
    assert "somebody else cancelled it in the colony" == ended.run.outcome.detail


async def test_one_whose_time_is_over_fails_for_that_reason(executor: Handing, public: Public) -> None:
    run = await begun(executor, public)
    await taken(public)
    public.fails("Maximum execution time limit exceeded")
    ended = await executor.follow(run.id)

    assert FAILED == public.state()
    assert OutcomeReason.OUTCOME_REASON_TIME_LIMIT == ended.run.outcome.reason


@pytest.mark.double_only("takes long to write why")
async def test_why_one_has_failed_may_be_written_late(
    colony: Site, executor: Handing, public: Public
) -> None:
    # Whoever is told learns of it when all is written.
    colony.double.fault("cut", "subscribeprocessmsg", count=100)
    run = await begun(executor, public)
    await taken(public)
    with colony.double.settings(late_s=0.9):
        await asyncio.to_thread(public.fails, "Maximum execution time limit exceeded")
    ended = await executor.follow(run.id)
    colony.double.clear_faults()

    assert OutcomeReason.OUTCOME_REASON_TIME_LIMIT == ended.run.outcome.reason


async def test_what_would_be_seen_by_all_is_not_handed_over(executor: Handing, public: Public) -> None:
    request = await executor.request(executor_names=[public.name])
    request.secrets.append(Secret(name="TOKEN", value="hunter2"))

    assert "secrets_not_kept" == (await refusal(executor, request)).reason
    assert [] == executor.holding(b"hunter2")


async def test_nothing_shows_the_key_once_a_run_has_ended(executor: Handing, public: Public) -> None:
    run = await begun(executor, public)
    await taken(public)
    while_it_runs = {path.name for path in executor.holding(executor.colony.private_key.encode())}
    public.closes()
    await executor.follow(run.id)
    async with asyncio.timeout(20):
        while executor.holding(executor.colony.private_key.encode()):  # noqa: ASYNC110 - a file rings no bell
            await asyncio.sleep(0.02)

    assert {"private.pb"} == while_it_runs


async def test_an_executor_that_is_not_there_is_refused_with_what_was_meant(
    executor: Handing, public: Public
) -> None:
    error = await refusal(executor, await executor.request(executor_names=[f"{public.name}x"]))

    assert "cannot_run_here" == error.reason
    assert f"has no executor '{public.name}x'; did you mean" in error.violations[0].message


async def test_where_the_bytes_of_files_are_has_to_be_known(executor: Handing) -> None:
    request = await executor.request()
    request.snapshot.colony.ClearField("files")

    assert "colony_files_missing" == (await refusal(executor, request)).reason


async def test_there_has_to_be_a_colony(executor: Handing) -> None:
    request = await executor.request()
    request.snapshot.ClearField("colony")

    assert "colony_missing" == (await refusal(executor, request)).reason


async def test_a_key_that_is_of_nobody_is_refused(executor: Handing) -> None:
    request = await executor.request()
    request.snapshot.colony.private_key = "1" * 64

    assert "colony_denied" == (await refusal(executor, request)).reason


def stored(colony: Site, public: Public) -> tuple[list[Any], list[Any]]:
    """Processes for an executor, and all snapshots."""
    snapshots: list[Any] = colony.look("getsnapshotsmsg") or []
    return colony.processes(executortype=public.play.kind), snapshots


async def test_the_function_spec_is_shown_without_anything_being_done(
    executor: Handing, colony: Site, public: Public
) -> None:
    before = stored(colony, public)
    spec = executor.spec(make_spec(command="python3", executor_names=[public.name]))
    asked = PreflightRequest(spec=spec, colony=executor.colony, script=True)
    answer = await executor.about.Preflight(asked, timeout=CALL_S)
    shown = json.loads(answer.script)

    assert answer.script.startswith('{\n    "nodename": "",\n')
    assert "pollinator-<run>" == shown["label"]
    assert "<snapshot>" == shown["fs"]["snapshots"][0]["snapshotid"]
    assert "/pollinator/demo/<content>/data" == shown["fs"]["dirs"][1]["dir"]
    assert ["/cfs/pollinator/demo/<run>/src/main.py"] == shown["kwargs"]["args"]
    assert [public.name] == shown["conditions"]["executornames"]
    assert before == stored(colony, public)


async def queued(executor: Handing, run: Run) -> Run:
    """A run, once it is in the queue of the colony."""
    async with asyncio.timeout(20):
        while (told := await executor.get(run.id)).pending.code != "queue":  # noqa: ASYNC110 - as a user looks
            await asyncio.sleep(0.05)
    return told


async def test_why_a_process_waits_is_told(executor: Handing, public: Public) -> None:
    # It has asked for work, so that it is there.
    public.play.assign()
    ahead = await begun(executor, public)
    await queued(executor, ahead)
    run = await begun(executor, public)
    told = await queued(executor, run)
    explained = await executor.about.Explain(ExplainRequest(run_id=run.id), timeout=CALL_S)
    for each in (ahead, run):
        await executor.cancel(each.id)
        await executor.follow(each.id)

    assert f"1 process is ahead of it for {public.name}" == told.pending.text
    assert told.pending.text == explained.pending.text


async def test_where_people_look_at_the_process_is_told(executor: Handing, public: Public) -> None:
    request = await executor.request(executor_names=[public.name])
    request.snapshot.colony.dashboard_url = "https://dashboard.example.org"
    run = await executor.ask(request)
    await taken(public)
    public.closes()
    ended = await executor.follow(run.id)

    link = f"Follow process at https://dashboard.example.org/process?processid={public.id}"
    assert [link] == [each.text for each in ended.run.notices if each.code == "dashboard"]


async def test_a_process_that_is_put_back_is_another_attempt(executor: Handing, public: Public) -> None:
    run = await begun(executor, public, walltime_ms=3000)
    spec = await taken(public)
    public.says("first attempt\n")
    await executor.printed(run.id, b"first attempt\n")
    await executor.reaches(run.id, "QUEUED", attempt=2)
    again = await taken(public)
    public.says("second attempt\n")
    public.closes()
    ended = await executor.follow(run.id)

    assert (2, spec["label"]) == (spec["maxexectime"], again["label"])
    assert {0: b"first attempt\nsecond attempt\n"} == ended.output
    assert (2, "SUCCEEDED") == (ended.run.attempt, ended.states[-1])


async def test_attempts_are_counted_also_those_that_nobody_saw(executor: Handing, public: Public) -> None:
    run = await begun(executor, public)
    await taken(public)
    public.runs_on("n1")
    await executor.reaches(run.id, "RUNNING")
    for attempt in (2, 3, 4):
        public.tells(f"POLLINATOR_ATTEMPT_{attempt}", "")
    public.says("the last\n")
    public.closes()
    ended = await executor.follow(run.id)

    assert (4, "SUCCEEDED") == (ended.run.attempt, ended.states[-1])
    assert (4, 4) == (ended.states.count("QUEUED"), ended.states.count("RUNNING"))
    assert {0: b"the last\n"} == ended.output


async def test_a_run_goes_only_where_it_is_to_be(executor: Handing, public: Public) -> None:
    request = await executor.request(executor_names=[public.name], location="Lund")
    error = await refusal(executor, request)

    assert ["conditions.location"] == [each.where for each in error.violations]
