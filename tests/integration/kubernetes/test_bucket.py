"""Runs in pods that share no volume with the executor: all goes through a bucket of a real server."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import signal
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pollinator.chunks.stores import open_store
from pollinator.executors.conformance.asking import make_spec
from pollinator.executors.conformance.client import Followed
from pollinator.executors.kubernetes.pod import UID
from pollinator.v1.run_pb2 import OutcomeReason, RunState
from support.executing import ExecutorProcess, Profile
from support.kubernetes.sites import Site
from support.kubernetes_bucket import KEYS, put_into, settings_of
from support.s3_servers import S3Server
from support.sandbox import Sandbox

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

WHO = """\
import os
rank = os.environ["RANK"]
print("rank", rank, "of", os.environ["WORLD_SIZE"], open("data/text").read(), flush=True)
open("result/" + rank, "w").write("by " + rank)
open("result/same", "w").write(os.environ["POLLINATOR_NODE_RANK"])
"""
COUNTS = """\
import time
for at in range(MANY):
    print(at, flush=True)
    time.sleep(0.15)
open("result/out", "w")
"""
WAITS = """\
import os, time
print("up", flush=True)
open("result/out", "w").write("so far")
while True:
    time.sleep(0.1)
"""


@asynccontextmanager
async def started(
    site: Site, server: S3Server, *, keys: bool = True, **environment: str
) -> AsyncGenerator[ExecutorProcess]:
    """An executor whose pods share no volume with it.

    Args:
        site: where they are.
        server: of the bucket.
        keys: they have those of a Secret of the cluster's owner.
        environment: of its process.
    """
    profile = Profile(
        kind="kubernetes",
        environment=lambda: {"KUBECONFIG": str(site.kubeconfig)},
        site=lambda: settings_of(site, server, keys=keys),
        prepare=lambda request: put_into(server.settings(), request),
        store=lambda project: open_store(server.settings(), project),
    )
    box = Sandbox(Path(tempfile.mkdtemp(prefix="pol-")))
    made = ExecutorProcess("kubernetes", box, {"image": site.image}, profile)
    await made.start(**environment)
    try:
        yield made
    finally:
        await made.close()


@pytest.fixture
async def executor(cluster: Site, rclone_s3: S3Server) -> AsyncIterator[ExecutorProcess]:
    """One whose pods have keys of the cluster's owner."""
    async with started(cluster, rclone_s3) as made:
        yield made


def reason(ended: Followed) -> str:
    return OutcomeReason.Name(ended.run.outcome.reason).removeprefix("OUTCOME_REASON_")


def notices(ended: Followed) -> list[str]:
    return [each.text for each in ended.run.notices]


async def files(executor: ExecutorProcess, ended: Followed) -> dict[bytes, bytes]:
    """What came home, empty folders aside."""
    found = await executor.results(ended.run)
    return {path: data for path, (kind, _, data) in found.items() if kind == "file"}


async def all_gone(site: Site) -> None:
    """Wait until nothing of any run is left in the cluster."""
    async with asyncio.timeout(60):
        while any(KEYS not in each for each in site.left()):  # noqa: ASYNC110 - a cluster rings no bell
            await asyncio.sleep(0.1)


async def test_ranks_of_several_nodes_print_and_leave_results(
    executor: ExecutorProcess, cluster: Site, rclone_s3: S3Server
) -> None:
    snapshot = await executor.publish({b"main.py": WHO.encode()}, {b"text": b"hello"})
    run = await executor.launch(make_spec(nodes=3, processes_per_node=2), snapshot)
    ended = await executor.follow(run.id)

    assert {rank: f"rank {rank} of 6 hello\n".encode() for rank in range(6)} == ended.output
    assert RunState.RUN_STATE_SUCCEEDED == ended.run.state
    expected = {b"%d" % rank: b"by %d" % rank for rank in range(6)} | {b"same": b"2"}
    assert expected == await files(executor, ended)
    assert ["several nodes left their own result/same: that of the last is kept"] == notices(ended)
    await all_gone(cluster)
    assert not [key for key in rclone_s3.objects() if "/t/" in key]


async def test_what_ranks_see_of_the_way_to_the_store_is_nothing(
    executor: ExecutorProcess, rclone_s3: S3Server
) -> None:
    looks = """\
import os, subprocess
command = ["grep", "-rlsI", os.environ["LOOK"], "/pollinator", "/cfs"]
print(sorted(os.listdir("/pollinator")))
print("found", subprocess.run(command, capture_output=True).stdout.decode())
try:
    open("src/new", "w")
except OSError as error:
    print("src is", type(error).__name__)
"""
    # Not as it is: the variable would be found.
    key = rclone_s3.secret_key
    ended = await executor.run(looks, environment=[{"name": "LOOK", "value": f"{key[:-1]}[{key[-1]}]"}])

    words = ended.output[0].decode()
    assert "'store'" not in words
    assert "'keys'" not in words
    assert words.endswith("found \nsrc is OSError\n")


async def test_a_run_that_is_cancelled_brings_home_what_there_is(
    executor: ExecutorProcess, cluster: Site
) -> None:
    run = await executor.begin(WAITS)
    await executor.printed(run.id, b"up\n")
    await executor.cancel(run.id)
    ended = await executor.follow(run.id)

    assert RunState.RUN_STATE_CANCELLED == ended.run.state
    assert {b"out": b"so far"} == await files(executor, ended)
    await all_gone(cluster)


async def test_a_run_whose_time_is_over_brings_home_what_there_is(executor: ExecutorProcess) -> None:
    ended = await executor.run(WAITS, walltime_ms=4000)

    assert ("TIME_LIMIT", {0: b"up\n"}) == (reason(ended), ended.output)
    assert {b"out": b"so far"} == await files(executor, ended)


async def test_a_rank_without_memory_is_said_to_be_that(executor: ExecutorProcess) -> None:
    hungry = "print('up', flush=True)\nopen('result/out', 'w').write('x')\nx = bytearray(400_000_000)\n"
    ended = await executor.run(hungry, memory_bytes=100_000_000)

    assert ("OUT_OF_MEMORY", {0: b"up\n"}) == (reason(ended), ended.output)
    assert {b"out": b"x"} == await files(executor, ended)


async def test_one_rank_that_fails_ends_those_of_other_nodes(executor: ExecutorProcess) -> None:
    program = f"import os, sys\nif os.environ['RANK'] == '1':\n    sys.exit(3)\n{WAITS}"
    ended = await executor.run(program, nodes=2)

    assert (3, 1, "EXIT_CODE") == (ended.run.outcome.exit_code, ended.run.outcome.rank, reason(ended))


async def test_files_that_cannot_be_laid_out_fail_the_run_with_the_reason(executor: ExecutorProcess) -> None:
    snapshot = await executor.publish({b"main.py": b""})
    snapshot.key = "s/00/" + "0" * 64
    run = await executor.launch(make_spec(), snapshot)
    ended = await executor.follow(run.id)

    assert "MATERIALISE" == reason(ended)
    assert "has no object s/00/" in ended.run.outcome.detail
    assert [] == notices(ended)


@pytest.mark.parametrize("point", ["after_page", "before_pages_noted", "before_exit_event", "after_collect"])
async def test_an_executor_that_is_killed_loses_nothing(
    cluster: Site, rclone_s3: S3Server, point: str
) -> None:
    program = COUNTS.replace("MANY", "20")
    async with started(cluster, rclone_s3, POLLINATOR_CRASH_AT=point) as executor:
        run = await executor.begin(program, nodes=2)
        assert -signal.SIGKILL == await executor.ended(120)
        await executor.start()
        ended = await executor.follow(run.id)

        expected = b"".join(b"%d\n" % at for at in range(20))
        assert {0: expected, 1: expected} == ended.output
        assert RunState.RUN_STATE_SUCCEEDED == ended.run.state
        assert {b"out": b""} == await files(executor, ended)
        assert 1 == ended.run.attempt


async def test_a_pod_that_somebody_deletes_stores_what_there_is(
    executor: ExecutorProcess, cluster: Site
) -> None:
    run = await executor.begin(WAITS)
    await executor.printed(run.id, b"up\n")
    (pod,) = cluster.all("pods")
    cluster.delete("pods", pod["metadata"]["name"])
    ended = await executor.follow(run.id)

    assert (RunState.RUN_STATE_FAILED, "NODE_FAILED") == (ended.run.state, reason(ended))
    assert {b"out": b"so far"} == await files(executor, ended)
    assert {0: b"up\n"} == ended.output


@pytest.mark.double_only("runs containers as processes of this machine")
async def test_a_side_car_that_is_killed_goes_on_where_it_was(
    executor: ExecutorProcess, cluster: Site
) -> None:
    run = await executor.begin(COUNTS.replace("MANY", "40"))
    await executor.printed(run.id, b"2\n")
    (pod,) = cluster.all("pods")
    kill_companion(pod["metadata"]["uid"])
    ended = await executor.follow(run.id)

    assert {0: b"".join(b"%d\n" % at for at in range(40))} == ended.output
    assert RunState.RUN_STATE_SUCCEEDED == ended.run.state
    assert {b"out": b""} == await files(executor, ended)


def kill_companion(uid: str) -> None:
    """Kill what runs beside the ranks of a pod."""
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            is_it = b"pollinator.executors.kubernetes.collect" in (path / "cmdline").read_bytes().split(b"\0")
            if is_it and f"{UID}={uid}".encode() in (path / "environ").read_bytes().split(b"\0"):
                os.kill(int(path.name), signal.SIGKILL)
                return
    pytest.fail(f"nothing runs beside the ranks of pod {uid}")


async def test_a_bucket_that_does_not_answer_for_a_while_costs_nothing(
    cluster: Site, rclone_s3: S3Server
) -> None:
    program = COUNTS.replace("MANY", "40")
    async with started(cluster, rclone_s3) as executor:
        run = await executor.begin(program)
        await executor.printed(run.id, b"1\n")
        rclone_s3.stop()
        await asyncio.sleep(3)
        rclone_s3.start()
        ended = await executor.follow(run.id)

        assert {0: b"".join(b"%d\n" % at for at in range(40))} == ended.output
        assert RunState.RUN_STATE_SUCCEEDED == ended.run.state
        assert {b"out": b""} == await files(executor, ended)


async def test_pods_get_limited_credentials_where_the_store_issues_some(
    cluster: Site, issuing_s3: S3Server
) -> None:
    async with started(cluster, issuing_s3, keys=False) as executor:
        run = await executor.begin(WAITS)
        await executor.printed(run.id, b"up\n")
        secrets = cluster.all("secrets")
        await executor.cancel(run.id)
        ended = await executor.follow(run.id)

        assert {b"out": b"so far"} == await files(executor, ended)
        assert 1 == len(secrets)
        held = b"".join(map(base64.b64decode, secrets[0]["data"].values()))
        assert issuing_s3.bucket.encode() in held
        assert issuing_s3.access_key.encode() not in held
        assert issuing_s3.secret_key.encode() not in held
        # Whoever has these may not remove anything: it is done by who has sent the run.
        await all_gone(cluster)


async def test_a_store_that_issues_none_is_refused(cluster: Site, rclone_s3: S3Server) -> None:
    async with started(cluster, rclone_s3, keys=False) as executor:
        ended = await executor.run("print('never')")

        assert "MATERIALISE" == reason(ended)
        assert "issues no limited credentials" in ended.run.outcome.detail
        assert [] == cluster.all("pods")
