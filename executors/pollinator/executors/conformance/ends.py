"""How runs end at every executor: codes, signals, limits, cancels, and what is left of their processes."""

from __future__ import annotations

import asyncio
import signal
import time

import pytest

from pollinator.executors.conformance.client import CALL_S, ExecutorUnderTest, Followed
from pollinator.v1.executor_pb2 import ExplainRequest
from pollinator.v1.run_pb2 import OutcomeReason, PendingReason, Run, RunState

MIB = 1 << 20
HANDLES_TERM = """\
import signal, sys, time
def asked(number, frame):
    print("asked to end")
    open("result/last", "w").write("words")
    sys.exit(0)
signal.signal(signal.SIGTERM, asked)
print("up")
time.sleep(60)
"""
IGNORES_TERM = """\
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
open("result/left", "w").write("before the end")
print("up")
time.sleep(60)
"""
LEAVES_STRAYS = """\
import os, sys, time
told, tell = os.pipe()
for own_session in (False, True):
    if os.fork() == 0:
        if own_session:
            os.setsid()
        if os.fork() == 0:
            os.write(1, b"%d\\n" % os.getpid())
            os.write(tell, b".")
            time.sleep(60)
        os._exit(0)
    os.wait()
os.read(told, 1)
os.read(told, 1)
"""


def outcome_of(run: Run) -> tuple[str, str, int, int, int]:
    """State, reason, exit code, signal and rank."""
    state = RunState.Name(run.state).removeprefix("RUN_STATE_")
    reason = OutcomeReason.Name(run.outcome.reason).removeprefix("OUTCOME_REASON_")
    return state, reason, run.outcome.exit_code, run.outcome.signal, run.outcome.rank


async def test_a_run_goes_through_its_states_in_order(executor: ExecutorUnderTest) -> None:
    ended = await executor.run("print('hello')")
    order = ["LAUNCHING", "QUEUED", "STARTING", "RUNNING", "COLLECTING", "SUCCEEDED"]

    assert ended.states == [state for state in order if state in ended.states]
    assert {"LAUNCHING", "RUNNING", "COLLECTING", "SUCCEEDED"} <= set(ended.states)
    times = [ended.run.accept_time, ended.run.start_time, ended.run.end_time]
    assert times == sorted(times, key=lambda at: at.ToNanoseconds())
    assert "accepted" == ended.events[0].WhichOneof("kind")
    assert ended.run.last_seq == len(ended.events)


@pytest.mark.parametrize("code", [0, 1, 3, 137])
async def test_the_exit_code_is_that_of_the_program(executor: ExecutorUnderTest, code: int) -> None:
    ended = await executor.run(f"import os; os._exit({code})")

    expected = ("FAILED", "EXIT_CODE", code, 0, 0) if code else ("SUCCEEDED", "UNSPECIFIED", 0, 0, 0)
    assert expected == outcome_of(ended.run)


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGTERM, signal.SIGKILL])
async def test_a_signal_is_reported_as_one(executor: ExecutorUnderTest, number: signal.Signals) -> None:
    ended = await executor.run(f"import os; os.kill(os.getpid(), {number.value})")

    assert ("FAILED", "SIGNAL", 128 + number, number, 0) == outcome_of(ended.run)


async def test_a_program_that_is_not_there_is_named(executor: ExecutorUnderTest) -> None:
    ended = await executor.run("", command="no-such-program-here --flag", source="")

    assert ("FAILED", "LAUNCH", 127, 0, 0) == outcome_of(ended.run)
    assert "no-such-program-here" in ended.run.outcome.detail


async def test_a_program_that_may_not_be_run_is_named(executor: ExecutorUnderTest) -> None:
    ended = await executor.run("print('no')", command="src/main.py", source="")

    assert ("FAILED", "LAUNCH", 127, 0, 0) == outcome_of(ended.run)
    assert "src/main.py" in ended.run.outcome.detail


async def test_arguments_that_are_too_long_for_the_system_are_a_failed_start(
    executor: ExecutorUnderTest,
) -> None:
    ended = await executor.run("print('no')", arguments=["x" * 200_000])

    assert ("FAILED", "LAUNCH", 127, 0, 0) == outcome_of(ended.run)
    assert {} == ended.output


@pytest.mark.parametrize("others", [HANDLES_TERM, IGNORES_TERM], ids=["handle_sigterm", "ignore_sigterm"])
async def test_one_rank_that_fails_ends_the_others(executor: ExecutorUnderTest, others: str) -> None:
    program = (
        "import os, sys, time\n"
        "if os.environ['RANK'] == '1':\n"
        "    while not (os.path.exists('result/0') and os.path.exists('result/2')): time.sleep(0.01)\n"
        "    sys.exit(5)\n"
    )
    others = others.replace('print("up")', "import os; open('result/' + os.environ['RANK'], 'w')")
    ended = await executor.run(program + others, processes_per_node=3)

    assert ("FAILED", "EXIT_CODE", 5, 0, 1) == outcome_of(ended.run)
    asked = "asked" in others
    assert (dict.fromkeys((0, 2), b"asked to end\n") if asked else {}) == ended.output


async def test_ranks_that_end_well_at_different_times_end_the_run_with_the_last(
    executor: ExecutorUnderTest,
) -> None:
    program = "import os, time; time.sleep(0.2 * int(os.environ['RANK'])); print('done')"
    ended = await executor.run(program, processes_per_node=3)

    assert dict.fromkeys(range(3), b"done\n") == ended.output
    assert ("SUCCEEDED", "UNSPECIFIED", 0, 0, 0) == outcome_of(ended.run)


# Limits


async def test_too_much_memory_ends_the_run_with_that_reason(executor: ExecutorUnderTest) -> None:
    executor.needs("memory_limit")
    program = (
        "import time\nopen('result/left', 'w').write('x')\nheld = b'x' * (400 << 20)\n"
        "time.sleep(5)\nprint('survived')\n"
    )
    ended = await executor.run(program, memory_bytes=100 * MIB)

    assert ("FAILED", "OUT_OF_MEMORY", 137, 9, 0) == outcome_of(ended.run)
    assert {} == ended.output
    assert b"left" in await executor.results(ended.run)


async def test_exit_code_0_with_a_part_killed_for_memory_is_a_failure(executor: ExecutorUnderTest) -> None:
    executor.needs("memory_limit")
    program = (
        "import os, time\n"
        "if os.fork() == 0:\n"
        "    held = b'x' * (400 << 20)\n"
        "    time.sleep(5)\n"
        "    os._exit(0)\n"
        "os.wait()\n"
    )
    ended = await executor.run(program, memory_bytes=100 * MIB)

    assert ("FAILED", "OUT_OF_MEMORY") == outcome_of(ended.run)[:2]


async def test_what_a_run_used_is_recorded(executor: ExecutorUnderTest) -> None:
    program = (
        "import time\nheld = b'x' * (150 << 20)\nuntil = time.process_time() + 0.3\n"
        "while time.process_time() < until: pass\n"
    )
    ended = await executor.run(program)
    usage = ended.run.usage

    assert (await executor.describe()).capabilities.memory_source == usage.memory_source
    assert 150 * MIB < usage.peak_memory_bytes < 300 * MIB
    assert 0.3 <= usage.cpu.ToMilliseconds() / 1000 < 3


async def test_the_time_limit_ends_a_run(executor: ExecutorUnderTest) -> None:
    executor.needs("time_limit")
    ended = await executor.run(HANDLES_TERM, walltime_ms=1000)

    assert ("FAILED", "TIME_LIMIT") == outcome_of(ended.run)[:2]
    assert {0: b"up\nasked to end\n"} == ended.output
    assert b"words" == (await executor.results(ended.run))[b"last"][2]


async def test_the_time_limit_ends_a_program_that_ignores_being_asked(executor: ExecutorUnderTest) -> None:
    executor.needs("time_limit")
    ended = await executor.run(IGNORES_TERM, walltime_ms=1000)

    assert ("FAILED", "TIME_LIMIT") == outcome_of(ended.run)[:2]
    assert b"before the end" == (await executor.results(ended.run))[b"left"][2]


async def test_no_process_is_left_of_a_run_that_has_ended(executor: ExecutorUnderTest) -> None:
    executor.here()
    began = time.monotonic()
    ended = await executor.run(LEAVES_STRAYS)
    strays = [int(line) for line in ended.output[0].split()]

    assert ("SUCCEEDED", "UNSPECIFIED", 0, 0, 0) == outcome_of(ended.run)
    assert [] == [pid for pid in strays if executor.process_exists(pid)]
    assert strays
    assert time.monotonic() - began < 30


# Cancel


async def test_a_running_run_can_be_cancelled(executor: ExecutorUnderTest) -> None:
    executor.needs("cancel")
    run = await executor.begin(HANDLES_TERM)
    await executor.printed(run.id, b"up\n")
    answered = await executor.cancel(run.id)
    ended = await executor.follow(run.id)

    assert answered.cancel_requested
    assert "CANCELLED" == outcome_of(ended.run)[0]
    assert {0: b"up\nasked to end\n"} == ended.output
    assert b"words" == (await executor.results(ended.run))[b"last"][2]


async def test_a_run_that_ignores_being_asked_is_cancelled_all_the_same(executor: ExecutorUnderTest) -> None:
    executor.needs("cancel")
    run = await executor.begin(IGNORES_TERM + LEAVES_STRAYS)
    await executor.printed(run.id, b"up\n")
    await executor.cancel(run.id)
    ended = await executor.follow(run.id)

    assert "CANCELLED" == outcome_of(ended.run)[0]
    assert b"before the end" == (await executor.results(ended.run))[b"left"][2]


async def test_cancelling_twice_is_one_wish(executor: ExecutorUnderTest) -> None:
    executor.needs("cancel")
    run = await executor.begin(IGNORES_TERM)
    await executor.printed(run.id, b"up\n")
    await asyncio.gather(*(executor.cancel(run.id) for _ in range(5)))
    ended = await executor.follow(run.id)

    assert 1 == sum(event.WhichOneof("kind") == "cancel_requested" for event in ended.events)
    assert "CANCELLED" == outcome_of(ended.run)[0]


async def test_a_run_that_was_only_just_accepted_can_be_cancelled(executor: ExecutorUnderTest) -> None:
    executor.needs("cancel")
    run = await executor.begin("import time; time.sleep(60)")
    await executor.cancel(run.id)
    ended = await executor.follow(run.id)

    assert "CANCELLED" == outcome_of(ended.run)[0]


async def test_cancelling_a_run_that_has_ended_changes_nothing(executor: ExecutorUnderTest) -> None:
    executor.needs("cancel")
    before = (await executor.run("print('hello')")).run
    answered = await executor.cancel(before.id)

    assert before == answered
    assert before == await executor.get(before.id)


async def waiting(executor: ExecutorUnderTest) -> tuple[Run, Run]:
    """A run that takes all cores, and one that has to wait for them."""
    has = await executor.limits()
    program, nodes = "import time; print('up'); time.sleep(60)", max(1, has.nodes)
    first = await executor.begin(program, cpu_millis=has.cpu_millis, nodes=nodes)
    await executor.printed(first.id, b"up\n")
    second = await executor.begin("print('ran')", cpu_millis=has.cpu_millis)
    await executor.reached(second.id, RunState.RUN_STATE_QUEUED)
    return first, second


async def _explained(executor: ExecutorUnderTest, run: str) -> PendingReason:
    """Why a run waits, once it is said what to do and both ways to ask agree: more may be learnt later."""
    async with asyncio.timeout(CALL_S):
        while True:
            explained = await executor.about.Explain(ExplainRequest(run_id=run), timeout=CALL_S)
            if explained.pending.action and explained.pending == (await executor.get(run)).pending:
                return explained.pending
            await asyncio.sleep(0.05)


async def test_a_run_that_waits_says_why_and_starts_once_it_can(executor: ExecutorUnderTest) -> None:
    executor.needs("cancel")
    first, second = await waiting(executor)
    explained = await _explained(executor, second.id)
    runs = await executor.about.Explain(ExplainRequest(run_id=first.id), timeout=CALL_S)
    await executor.cancel(first.id)
    ended = await executor.follow(second.id)

    assert explained.code
    assert explained.text
    assert not runs.HasField("pending")
    assert {0: b"ran\n"} == ended.output
    assert not ended.run.HasField("pending")


async def test_a_run_that_waits_can_be_cancelled_and_never_starts(executor: ExecutorUnderTest) -> None:
    executor.needs("cancel")
    first, second = await waiting(executor)
    await executor.cancel(second.id)
    ended: Followed = await executor.follow(second.id)
    other = await executor.get(first.id)
    await executor.cancel(first.id)
    await executor.follow(first.id)

    assert "CANCELLED" == outcome_of(ended.run)[0]
    assert {} == ended.output
    assert "RUNNING" not in ended.states
    assert RunState.RUN_STATE_RUNNING == other.state
