"""Runs of ours that go to a colony, where an executor of ours takes them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from pollinator.chunks.stores import open_store
from pollinator.executors.colonies.delivery import LEFT_S
from pollinator.v1.run_pb2 import OutcomeReason, RunState
from support.colonies.handing import Handing, handing
from support.colonies.sites import Site
from support.colony_site import Serving, serving
from support.s3_servers import S3Server

pytestmark = pytest.mark.integration

PROGRAM = """\
import os, sys
print("rank", os.environ["RANK"], "of", os.environ["WORLD_SIZE"], sys.argv[1:], os.environ["WORD"])
os.makedirs("result/deep/er", exist_ok=True)
if os.environ["RANK"] == "0":
    open("result/deep/er/answer", "w").write("42")
    open("result/empty", "w")
    os.chmod("result/empty", 0o755)
    os.symlink("empty", "result/link")
sys.exit(int(os.environ.get("CODE", "0")))
"""
WORD = "a && b < c > d \"e\" 'f' $g"


@pytest.fixture(scope="module")
def site(colony: Site, colony_s3: S3Server) -> Iterator[Serving]:
    environment = colony_s3.environment()
    with serving(colony, "local", "colonies.processes=8", "containers.engines=none", **environment) as there:
        there.identity()
        yield there


@pytest.fixture(scope="module")
async def executor(site: Serving, colony_s3: S3Server) -> AsyncIterator[Handing]:
    seen = site.site.seen_by(site.user, colony_s3.settings().s3)
    async with handing(seen, executor_names=[site.name]) as one:
        yield one


def environment(**variables: str) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in sorted(variables.items())]


async def test_all_that_a_spec_says_holds_there_and_the_results_come_home(executor: Handing) -> None:
    run = await executor.begins(
        PROGRAM, processes_per_node=2, arguments=["x y", "<&>"], environment=environment(WORD=WORD)
    )

    ended = await executor.follow(run.id)

    assert ended.run.state == RunState.RUN_STATE_SUCCEEDED, ended.run.outcome
    lines = {rank: f"rank {rank} of 2 ['x y', '<&>'] {WORD}\n".encode() for rank in range(2)}
    assert lines == ended.output
    found = await executor.results(ended.run)
    assert (b"42", b"") == (found[b"deep/er/answer"][2], found[b"empty"][2])


async def test_nothing_goes_through_the_files_of_the_colony_where_both_reach_the_bucket(
    executor: Handing, colony_s3: S3Server
) -> None:
    settings = colony_s3.settings(prefix="ours")
    snapshot = await executor.publish({b"main.py": PROGRAM.encode()}, store=open_store(settings, "demo"))
    request = await executor.request("", environment=environment(WORD=WORD, CODE="3"))
    run = await executor.ask(executor.of(request.snapshot.spec, snapshot, settings))

    ended = await executor.follow(run.id)

    outcome = ended.run.outcome
    assert (OutcomeReason.OUTCOME_REASON_EXIT_CODE, 3) == (outcome.reason, outcome.exit_code), outcome
    found = await executor.results(ended.run, store=open_store(settings, "demo"))
    # Modes and links are as they were, which the colony's files could not hold.
    assert ("file", 0o755, b"") == found[b"empty"]
    assert ("link", b"empty") == (found[b"link"][0], found[b"link"][2])


async def test_a_run_that_is_cancelled_is_ended_there(executor: Handing) -> None:
    program = (
        "import time; open('result/part', 'w').write('so far'); print('up', flush=True); time.sleep(600)"
    )
    run = await executor.begins(program)
    await executor.printed(run.id, b"up")

    before = time.monotonic()
    await executor.cancel(run.id)
    ended = await executor.follow(run.id)

    assert ended.run.state == RunState.RUN_STATE_CANCELLED
    found = await executor.results(ended.run)
    assert {b"part": b"so far"} == {path: each[2] for path, each in found.items()}
    # It is told that this is all, and nobody waits for more.
    assert time.monotonic() - before < LEFT_S / 2


async def test_both_are_killed_in_the_middle_and_it_is_one_run_all_the_same(
    executor: Handing, site: Serving
) -> None:
    program = "import time\nfor i in range(40):\n print('line', i, flush=True)\n time.sleep(0.1)\n"
    run = await executor.begins(program)
    await executor.reaches(run.id, "RUNNING")

    await asyncio.to_thread(site.restart, "colonies.processes=8", "containers.engines=none")
    await executor.restart()

    ended = await executor.follow(run.id)
    assert ended.run.state == RunState.RUN_STATE_SUCCEEDED, ended.run.outcome
    assert "".join(f"line {number}\n" for number in range(40)).encode() == ended.output[0]
