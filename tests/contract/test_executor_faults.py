"""Every executor may be asked twice, cut off, killed and started again: a run happens once, completely."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator
from contextlib import suppress

import grpc
import pytest

from pollinator.executors.conformance.asking import make_spec, new_id, start_request
from pollinator.executors.conformance.requeue import CHECKPOINTS
from pollinator.v1.executor_pb2 import DescribeRequest
from pollinator.v1.run_pb2 import ListRunsRequest, RunState, Secret, StartRunRequest
from pollinator.v1.spec_pb2 import EnvironmentVariable
from pollinator.wire.errors import PollinatorError
from pollinator.wire.status import to_error
from support.executing import CALL_S, CRASH_POINTS, KINDS, PROFILES, ExecutorProcess, started

ONCE = "open('result/times', 'a').write('once\\n'); print('ran')"
COUNTS = """\
import os, time
open("result/times", "a").write("once\\n")
for number in range(int(os.environ.get("LINES", "150"))):
    print("line", number)
    time.sleep(0.004)
raise SystemExit(7 if os.environ["WORLD_SIZE"] == "1" else 0)
"""
COUNTED = [b"line %d\n" % number for number in range(150)]
LAST_CRASH = {kind: profile.crash_points[-1] for kind, profile in PROFILES.items() if profile.crash_points}
CRASHES = [(kind, point) for kind in KINDS for point in (*CRASH_POINTS, *PROFILES[kind].crash_points)]


@pytest.fixture(params=KINDS)
async def executor(request: pytest.FixtureRequest) -> AsyncIterator[ExecutorProcess]:
    """A process of its own for each test: it may be killed."""
    async with started(request.param) as one:
        yield one


async def request_for(executor: ExecutorProcess, program: str) -> StartRunRequest:
    return start_request(make_spec(), await executor.publish({b"main.py": program.encode()}))


async def ask(executor: ExecutorProcess, request: StartRunRequest) -> str:
    """Id of the run that answers a request."""
    answer = await executor.runs.StartRun(request, timeout=CALL_S, wait_for_ready=True)
    return answer.run.id


async def times(executor: ExecutorProcess, run: str) -> bytes:
    """What the program wrote each time it ran, as its results say."""
    found = await executor.results(await executor.get(run))
    return found[b"times"][2]


async def count(executor: ExecutorProcess) -> int:
    answer = await executor.runs.ListRuns(ListRunsRequest(), timeout=CALL_S)
    return len(answer.runs)


# Asked twice


async def test_a_request_that_is_repeated_leads_to_one_run(executor: ExecutorProcess) -> None:
    request = await request_for(executor, ONCE)
    first = await ask(executor, request)
    meanwhile = await ask(executor, request)
    ended = await executor.follow(first)
    later = await ask(executor, request)

    assert [request.snapshot.run_id] * 3 == [first, meanwhile, later]
    assert {0: b"ran\n"} == ended.output
    assert b"once\n" == await times(executor, first)
    assert 1 == await count(executor)


async def test_requests_repeated_at_the_same_time_lead_to_one_run(executor: ExecutorProcess) -> None:
    request = await request_for(executor, ONCE)
    answers = await asyncio.gather(*(ask(executor, request) for _ in range(20)))
    await executor.follow(answers[0])

    assert {request.snapshot.run_id} == set(answers)
    assert b"once\n" == await times(executor, answers[0])
    assert 1 == await count(executor)


async def test_a_request_that_is_repeated_with_another_run_id_leads_to_the_first_run(
    executor: ExecutorProcess,
) -> None:
    request = await request_for(executor, ONCE)
    first = await ask(executor, request)
    request.snapshot.run_id = new_id()
    before_restart = await ask(executor, request)
    await executor.restart()
    after_restart = await ask(executor, request)

    assert [first, first] == [before_restart, after_restart]
    assert 1 == await count(executor)


async def test_an_id_that_another_run_has_is_refused(executor: ExecutorProcess) -> None:
    request = await request_for(executor, ONCE)
    await ask(executor, request)
    other = await request_for(executor, "print('other')")
    other.snapshot.run_id = request.snapshot.run_id
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ask(executor, other)

    assert grpc.StatusCode.ALREADY_EXISTS == caught.value.code()
    assert "run_id_taken" == to_error(caught.value).reason


async def test_a_request_whose_reply_was_lost_leads_to_one_run(executor: ExecutorProcess) -> None:
    request = await request_for(executor, ONCE)
    for attempt in range(20):
        with suppress(grpc.aio.AioRpcError):
            await executor.runs.StartRun(request, timeout=0.0002 * attempt)
    run = await ask(executor, request)
    await executor.follow(run)

    assert b"once\n" == await times(executor, run)
    assert 1 == await count(executor)


async def test_a_request_that_is_repeated_after_a_crash_leads_to_one_run(executor: ExecutorProcess) -> None:
    request = await request_for(executor, COUNTS)
    first = await ask(executor, request)
    await executor.printed(first, b"line 0\n")
    await executor.restart()
    while_it_runs = await ask(executor, request)
    ended = await executor.follow(first)
    await executor.restart()
    after_it_ended = await ask(executor, request)

    assert [first, first] == [while_it_runs, after_it_ended]
    assert {0: b"".join(COUNTED)} == ended.output
    assert b"once\n" == await times(executor, first)
    assert 1 == await count(executor)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_crash_before_the_reply_leads_to_one_run(kind: str) -> None:
    async with started(kind, dies_at="after_intent") as executor:
        request = await request_for(executor, ONCE)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await executor.runs.StartRun(request, timeout=CALL_S)
        assert -9 == await executor.ended()
        await executor.start()
        run = await ask(executor, request)
        ended = await executor.follow(run)

        assert to_error(caught.value).retryable
        assert {0: b"ran\n"} == ended.output
        assert b"once\n" == await times(executor, run)
        assert 1 == await count(executor)


# Killed


@pytest.mark.parametrize(("kind", "point"), CRASHES)
async def test_an_executor_killed_at_any_point_brings_the_run_to_its_end(kind: str, point: str) -> None:
    async with started(kind, dies_at=point) as executor:
        request = start_request(
            make_spec(environment=[EnvironmentVariable(name="LINES", value="30")]),
            await executor.publish({b"main.py": COUNTS.encode(), b"mark": b"files-of-the-run" * 20}),
            secrets={"TOKEN": "hunter2"},
        )
        run = await ask(executor, request)
        assert -9 == await executor.ended()

        await executor.start()
        ended = await executor.follow(run)

        assert {0: b"".join(COUNTED[:30])} == ended.output
        assert 7 == ended.run.outcome.exit_code
        assert b"once\n" == await times(executor, run)
        await cleaned(executor)


async def cleaned(executor: ExecutorProcess) -> None:
    """Return once neither files nor secrets of runs are left."""
    async with asyncio.timeout(20):
        while executor.holding(b"files-of-the-run") or executor.holding(b"hunter2"):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_run_goes_on_while_its_executor_is_down(executor: ExecutorProcess) -> None:
    run = await executor.begin(COUNTS)
    await executor.printed(run.id, b"line 3\n")
    async with asyncio.TaskGroup() as group:
        following = group.create_task(executor.follow(run.id))
        await executor.restart()
    ended = following.result()

    assert {0: b"".join(COUNTED)} == ended.output
    assert ("FAILED", 7) == (ended.states[-1], ended.run.outcome.exit_code)


@pytest.mark.parametrize("seed", range(3))
async def test_a_follower_misses_nothing_when_the_executor_is_killed_again_and_again(
    executor: ExecutorProcess, seed: int
) -> None:
    choice = random.Random(seed)
    run = await executor.begin(COUNTS, processes_per_node=2)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(executor.follow(run.id))
        for _ in range(3):
            await executor.printed(run.id, b"line %d\n" % choice.randint(0, 100))
            await executor.restart()
    ended = task.result()

    assert {0: b"".join(COUNTED), 1: b"".join(COUNTED)} == ended.output
    assert RunState.RUN_STATE_SUCCEEDED == ended.run.state


async def test_an_executor_that_is_asked_to_end_lets_go_of_its_runs(executor: ExecutorProcess) -> None:
    run = await executor.begin(COUNTS)
    await executor.printed(run.id, b"line 0\n")
    executor.ask_to_end()
    code = await executor.ended()
    await executor.start()
    ended = await executor.follow(run.id)

    assert 0 == code
    assert {0: b"".join(COUNTED)} == ended.output


@pytest.mark.parametrize("kind", KINDS)
async def test_a_wish_to_cancel_outlives_the_executor(kind: str) -> None:
    async with started(kind, dies_at="after_cancel_requested") as executor:
        run = await executor.begin("import time; print('up'); time.sleep(60)")
        await executor.printed(run.id, b"up\n")
        with pytest.raises(grpc.aio.AioRpcError):
            await executor.cancel(run.id)
        assert -9 == await executor.ended()
        await executor.start()
        ended = await executor.follow(run.id)

        assert RunState.RUN_STATE_CANCELLED == ended.run.state


@pytest.mark.parametrize("kind", KINDS)
async def test_a_run_cancelled_while_its_executor_was_starting_it_does_not_run_on(kind: str) -> None:
    async with started(kind, dies_at=LAST_CRASH[PROFILES[kind].kind or kind]) as executor:
        executor.needs("cancel")
        snapshot = await executor.publish(
            {b"main.py": b"import os, time; print(os.getpid()); time.sleep(60)"}
        )
        run = start_request(make_spec(), snapshot).snapshot
        await asyncio.gather(
            executor.runs.StartRun(StartRunRequest(request_id=run.run_id, snapshot=run), timeout=CALL_S),
            return_exceptions=True,
        )
        assert -9 == await executor.ended()
        await executor.start()
        await executor.cancel(run.run_id)
        ended = await executor.follow(run.run_id)

        assert RunState.RUN_STATE_CANCELLED == ended.run.state
        pids = [int(line) for line in ended.output.get(0, b"").split()]
        assert [] == [pid for pid in pids if executor.process_exists(pid)]


async def test_a_second_process_for_the_same_state_leaves_the_first_alone(
    executor: ExecutorProcess,
) -> None:
    run = await executor.begin(COUNTS)
    second = await executor.start_another()
    about = await executor.about.Describe(DescribeRequest(), timeout=CALL_S)
    ended = await executor.follow(run.id)

    assert 0 == second
    assert about.executor.healthy
    assert {0: b"".join(COUNTED)} == ended.output


async def test_runs_that_wait_still_wait_after_a_crash(executor: ExecutorProcess) -> None:
    executor.needs("cancel")
    has = await executor.limits()
    older, newer = sorted((new_id(), new_id()))
    first = await request_for(executor, "import time; print('up'); time.sleep(60)")
    second = await request_for(executor, "print('ran')")
    for request, run in ((first, newer), (second, older)):
        request.snapshot.run_id, request.snapshot.spec.cpu_millis = run, has.cpu_millis
        request.snapshot.spec.nodes = max(1, has.nodes) if run == newer else 1
        await ask(executor, request)
        await executor.reached(run, RunState.RUN_STATE_RUNNING if run == newer else RunState.RUN_STATE_QUEUED)
    await executor.restart()
    await executor.cancel(newer)
    ended = await executor.follow(newer)
    after = await executor.follow(older)

    assert {0: b"ran\n"} == after.output
    assert after.run.start_time.ToNanoseconds() >= ended.events[-2].time.ToNanoseconds()


# A full disk


async def test_a_request_that_does_not_fit_on_the_disk_is_refused_and_can_be_repeated(
    executor: ExecutorProcess,
) -> None:
    request = await request_for(executor, ONCE)
    request.secrets.append(Secret(name="TOKEN", value="hunter2"))
    with executor.full_disk(), pytest.raises(grpc.aio.AioRpcError) as caught:
        await executor.runs.StartRun(request, timeout=CALL_S)
    left = executor.holding(b"hunter2")
    ended = await executor.follow(await ask(executor, request))

    assert grpc.StatusCode.RESOURCE_EXHAUSTED == caught.value.code()
    assert "disk_full" == to_error(caught.value).reason
    assert [] == left
    assert {0: b"ran\n"} == ended.output


async def test_a_run_outlives_a_disk_that_is_full_for_a_while(executor: ExecutorProcess) -> None:
    rest_s = executor.profile.lag_s + 0.1
    run = await executor.begin(f"import os, time; print(os.getpid()); time.sleep({rest_s}); os._exit(7)")
    printed = await executor.printed(run.id, b"\n")
    await executor.reached(run.id, RunState.RUN_STATE_RUNNING)
    with executor.full_disk():
        states = [(await executor.get(run.id)).state]
        # Long enough to see that the program has ended, and to fail to write that down.
        while len(states) < 100 or executor.process_exists(int(printed)):
            states.append((await executor.get(run.id)).state)
    ended = await executor.follow(run.id)

    assert {RunState.RUN_STATE_RUNNING} == set(states)
    assert {0: printed} == ended.output
    assert 7 == ended.run.outcome.exit_code


async def test_an_unknown_run_is_not_made_up_after_a_crash(executor: ExecutorProcess) -> None:
    await executor.restart()
    with pytest.raises(PollinatorError) as caught:
        await executor.follow(new_id())

    assert "run_missing" == caught.value.reason


async def test_a_record_torn_by_a_crash_is_cut_back_to_what_was_told(executor: ExecutorProcess) -> None:
    run = await executor.begin(COUNTS)
    await executor.printed(run.id, b"line 0\n")
    executor.kill()
    logs = [path for path in executor.files() if path.name == "events.log"]
    for log in logs:
        with log.open("ab") as file:
            file.write(os.urandom(11))
    await executor.start()
    ended = await executor.follow(run.id)
    await executor.restart()
    again = await executor.follow(run.id)

    assert {0: b"".join(COUNTED)} == ended.output
    assert ended == again


async def test_an_executor_that_is_killed_between_attempts_goes_on(executor: ExecutorProcess) -> None:
    executor.needs("time_limit")
    wishes = {"requeue": True, "environment": [EnvironmentVariable(name="ENOUGH", value="3")]}
    run = await executor.begin(CHECKPOINTS, walltime_ms=1500, secrets={"TOKEN": "t"}, **wishes)
    await executor.printed(run.id, b"attempt 1")
    executor.kill()
    await executor.start()
    await executor.printed(run.id, b"attempt 2")
    await executor.restart()
    ended = await executor.follow(run.id)

    assert b"done t" == ended.output[0].splitlines()[-1]
    assert 3 == ended.output[0].count(b"attempt")
    assert RunState.RUN_STATE_SUCCEEDED == ended.run.state
