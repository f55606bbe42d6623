"""A run that may have several attempts: again with the same snapshot until the job ends by itself."""

from __future__ import annotations

from typing import Any

import pytest

from pollinator.executors.conformance.client import ExecutorUnderTest
from pollinator.v1.run_pb2 import OutcomeReason, RunState

pytestmark = pytest.mark.timeout(120)

CHECKPOINTS = """\
import os, time
with open("result/attempts", "a+") as file:
    file.write("x")
    file.flush()
    file.seek(0)
    attempt = len(file.read())
changed = open("src/main.py").read().endswith("# changed")
print("attempt", attempt, changed, os.path.exists("data/kept"), flush=True)
try:
    with open("src/main.py", "a") as source:
        source.write("# changed")
except OSError:
    # In an image nobody may change it.
    pass
open("data/kept", "w").close()
if attempt < int(os.environ["ENOUGH"]):
    time.sleep(60)
print("done", os.environ.get("TOKEN", "-"))
"""


def enough(attempts: int) -> dict[str, Any]:
    return {"environment": [{"name": "ENOUGH", "value": str(attempts)}], "requeue": True}


async def test_a_run_goes_on_in_further_attempts_until_the_job_ends(executor: ExecutorUnderTest) -> None:
    executor.needs("time_limit")
    secrets = executor.secrets(TOKEN="t")
    ended = await executor.run(CHECKPOINTS, walltime_ms=1500, secrets=secrets, **enough(3))

    last = f"done {secrets.get('TOKEN', '-')}".encode()
    expected = [b"attempt 1 False False", b"attempt 2 False True", b"attempt 3 False True", last]
    assert expected == ended.output[0].splitlines()
    assert (RunState.RUN_STATE_SUCCEEDED, 3) == (ended.run.state, ended.run.attempt)
    assert 3 == ended.states.count("RUNNING")
    assert b"xxx" == (await executor.results(ended.run))[b"attempts"][2]


async def test_there_are_no_more_attempts_than_it_says(executor: ExecutorUnderTest) -> None:
    executor.needs("time_limit")
    ended = await executor.run(CHECKPOINTS, walltime_ms=1000, max_requeues=1, **enough(9))

    assert 2 == ended.output[0].count(b"attempt")
    assert RunState.RUN_STATE_FAILED == ended.run.state
    assert OutcomeReason.OUTCOME_REASON_TIME_LIMIT == ended.run.outcome.reason


async def test_a_job_that_fails_by_itself_is_not_run_again(executor: ExecutorUnderTest) -> None:
    ended = await executor.run("print('ran'); raise SystemExit(3)", **enough(1))

    assert {0: b"ran\n"} == ended.output
    assert (RunState.RUN_STATE_FAILED, 3, 1) == (
        ended.run.state,
        ended.run.outcome.exit_code,
        ended.run.attempt,
    )


async def test_a_run_between_attempts_can_be_cancelled(executor: ExecutorUnderTest) -> None:
    executor.needs("cancel")
    run = await executor.begin(CHECKPOINTS, walltime_ms=1000, **enough(9))
    await executor.printed(run.id, b"attempt 2")
    await executor.cancel(run.id)
    ended = await executor.follow(run.id)

    assert RunState.RUN_STATE_CANCELLED == ended.run.state
