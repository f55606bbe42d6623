"""One Job for one run, whoever is killed or cut off on the way; and what ranks leave is not believed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from pollinator.executors.kubernetes.observing import WORD_S
from pollinator.executors.records import read_record
from pollinator.v1.run_pb2 import OutcomeReason, RunState
from support.executing import PROFILES, ExecutorProcess
from support.kubernetes.sites import Site
from support.kubernetes_runs import executor_in, nothing_left
from support.looping import save

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

POINTS = PROFILES["kubernetes"].crash_points
WAITS = "import time; print('up'); time.sleep(120)"
COUNTS = "import time\nfor number in range(20): print('line', number); time.sleep(0.05)\n"
COUNTED = b"".join(b"line %d\n" % number for number in range(20))


async def said(executor: ExecutorProcess, run: str, code: str) -> str:
    """What is said of a run that waits, once it is this."""
    async with asyncio.timeout(60):
        while (found := (await executor.get(run)).pending).code != code:  # noqa: ASYNC110 - far away
            await asyncio.sleep(0.05)
    return f"{found.text}\n{found.action}"


def member(cluster: Site) -> str:
    """Somebody who may do what an executor does, in the namespace."""
    about, group = {"name": "member"}, "rbac.authorization.k8s.io"
    subject = {"kind": "ServiceAccount", "name": "member", "namespace": cluster.namespace}
    rule = {"apiGroups": ["", "batch"], "resources": ["*"], "verbs": ["*"]}
    role = {"apiVersion": f"{group}/v1", "kind": "Role", "metadata": about, "rules": [rule]}
    reference = {"apiGroup": group, "kind": "Role", "name": "member"}
    cluster.create(role)
    binding = {"kind": "RoleBinding", "roleRef": reference, "subjects": [subject]}
    cluster.create({"apiVersion": f"{group}/v1", "metadata": about, **binding})
    return f"system:serviceaccount:{cluster.namespace}:member"


@pytest.mark.double_only("remembers what was asked of it")
@pytest.mark.parametrize("point", POINTS)
async def test_an_executor_that_is_killed_while_it_hands_a_run_over_makes_one_job(
    cluster: Site, point: str
) -> None:
    cluster.double.mark()
    async with executor_in(cluster, dies_at=point) as executor:
        run = await executor.begin(COUNTS, nodes=2, secrets={"TOKEN": "hunter2"})
        assert -9 == await executor.ended()
        await executor.start()
        followed = await executor.follow(run.id)
        await nothing_left(cluster)
        made = [each for each in cluster.double.asked("create", "jobs") if each.code == 201]

    assert RunState.RUN_STATE_SUCCEEDED == followed.run.state
    assert {0: COUNTED, 1: COUNTED} == followed.output
    assert 1 == len(made)
    assert 1 == followed.run.attempt


@pytest.mark.double_only("loses answers")
async def test_an_answer_that_is_lost_leads_to_one_job(cluster: Site) -> None:
    async with executor_in(cluster) as executor:
        await executor.limits()
        cluster.double.fault("lose", "create", "jobs")
        followed = await executor.run(COUNTS)
        hits = cluster.double.hits()

    assert [1] == hits
    assert {0: COUNTED} == followed.output
    assert 1 == followed.run.attempt


@pytest.mark.double_only("has an image come when it is told to")
async def test_a_restart_while_a_run_starts_is_no_other_attempt(cluster: Site) -> None:
    async with executor_in(cluster) as executor:
        run = await executor.begin("print('ran')", image="registry.example/slow:1")
        await executor.reached(run.id, RunState.RUN_STATE_STARTING)
        await executor.restart()
        await executor.restart()
        cluster.double.images_come()
        followed = await executor.follow(run.id)

    assert {0: b"ran\n"} == followed.output
    assert (1, 1) == (followed.run.attempt, followed.states.count("STARTING"))


async def test_a_job_whose_run_nobody_knows_is_deleted(cluster: Site) -> None:
    async with executor_in(cluster, {"kubernetes.start": "5"}) as executor:
        run = await executor.begin(WAITS)
        await executor.printed(run.id, b"up")
        (job,) = await asyncio.to_thread(cluster.all, "jobs")
        about = {
            "name": "pollinator-left",
            "labels": job["metadata"]["labels"] | {"pollinator.io/run-id": "left"},
            "annotations": {"pollinator.io/run-id": "left"},
        }
        spec = {
            name: job["spec"][name] for name in ("completionMode", "completions", "backoffLimit", "template")
        }
        # What the cluster has put there itself.
        spec["template"]["metadata"].pop("labels")
        kind = {"apiVersion": "batch/v1", "kind": "Job"}
        copy = kind | {"metadata": about, "spec": spec | {"suspend": True}}
        await asyncio.to_thread(cluster.create, copy)
        await asyncio.to_thread(cluster.wait_gone, "jobs", "pollinator-left")
        names = [each["metadata"]["name"] for each in await asyncio.to_thread(cluster.all, "jobs")]
        await executor.cancel(run.id)
        await executor.follow(run.id)

    assert [job["metadata"]["name"]] == names


async def test_a_job_of_the_same_name_that_is_not_ours_is_left_alone(cluster: Site) -> None:
    async with executor_in(cluster) as executor:
        first = await executor.begin(WAITS)
        await executor.printed(first.id, b"up")
        (job,) = await asyncio.to_thread(cluster.all, "jobs")
        label = {"metadata": {"labels": {"pollinator.io/executor": "another"}}}
        await asyncio.to_thread(cluster.patch, "jobs", job["metadata"]["name"], label)
        executor.kill()
        # As if it had been killed before it knew the answer.
        (executor.state / "runs" / first.id / "job.json").unlink()
        journal = executor.state / "runs" / first.id / "control" / "1" / "0"
        journal.write_bytes(b"")
        await executor.start()
        followed = await executor.follow(first.id)
        (left,) = await asyncio.to_thread(cluster.all, "jobs")
        await asyncio.to_thread(cluster.delete, "jobs", job["metadata"]["name"])

    assert OutcomeReason.OUTCOME_REASON_LAUNCH == followed.run.outcome.reason
    assert "not of this executor" in followed.run.outcome.detail
    assert job["metadata"]["uid"] == left["metadata"]["uid"]
    assert "deletionTimestamp" not in left["metadata"]


@pytest.mark.parametrize("there", [True, False], ids=["there", "gone"])
async def test_a_job_that_was_never_noted_is_known_again_or_missed(cluster: Site, there: bool) -> None:
    async with executor_in(cluster) as executor:
        run = await executor.begin(WAITS)
        await executor.printed(run.id, b"up")
        (job,) = await asyncio.to_thread(cluster.all, "jobs")
        executor.kill()
        # As if it had been killed before it knew the answer.
        noted = executor.state / "runs" / run.id / "job.json"
        noted.unlink()
        if not there:
            await asyncio.to_thread(cluster.delete, "jobs", job["metadata"]["name"])
            await nothing_left(cluster)
            # As if its node had crashed.
            (executor.state / "runs" / run.id / "control" / "1" / "0").write_text("began\nran\n")
        await executor.start()
        if there:
            async with asyncio.timeout(60):
                while not (read_record(noted) or {}).get("uid"):  # noqa: ASYNC110 - another process
                    await asyncio.sleep(0.05)
            await executor.cancel(run.id)
        followed = await executor.follow(run.id)

    assert RunState.RUN_STATE_CANCELLED == followed.run.state
    assert b"up\n" == followed.output[0]
    assert there or "somebody else" in followed.run.outcome.detail


@pytest.mark.double_only("makes tokens that are not good any more")
async def test_credentials_that_end_are_waited_for_and_the_run_goes_on(cluster: Site, tmp_path: Path) -> None:
    who, token = member(cluster), tmp_path / "token"
    token.write_text(cluster.double.token(who))
    login = {
        "exec": {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": "sh",
            "args": [
                "-c",
                'printf \'{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential",'
                '"status":{"token":"%s"}}\' "$(cat ' + str(token) + ')"',
            ],
            "interactiveMode": "Never",
        }
    }
    async with executor_in(cluster, kubeconfig=cluster.kubeconfig_for(login)) as executor:
        await executor.run("print('before')")
        cluster.double.expire(who)
        runs = [await executor.begin("print('ran')") for _ in range(10)]
        told = await said(executor, runs[0].id, "login")
        # At once: the executor asks for it again and again.
        save(token, cluster.double.token(who))
        ends = [await executor.follow(run.id) for run in runs]

    assert "log in" in told
    assert [{0: b"ran\n"}] * 10 == [each.output for each in ends]


async def test_a_job_that_is_suspended_while_it_runs_ends_the_attempt(cluster: Site) -> None:
    async with executor_in(cluster) as executor:
        run = await executor.begin(WAITS)
        await executor.printed(run.id, b"up")
        (job,) = await asyncio.to_thread(cluster.all, "jobs")
        await asyncio.to_thread(cluster.patch, "jobs", job["metadata"]["name"], {"spec": {"suspend": True}})
        followed = await executor.follow(run.id)

    assert RunState.RUN_STATE_FAILED == followed.run.state
    assert OutcomeReason.OUTCOME_REASON_PREEMPTED == followed.run.outcome.reason


@pytest.mark.double_only("has an image come when it is told to")
async def test_a_run_that_its_queue_takes_back_before_it_began_waits_again(cluster: Site) -> None:
    async with executor_in(cluster) as executor:
        run = await executor.begin("print('ran')", image="registry.example/slow-too:1")
        await said(executor, run.id, "image_pulling")
        (job,) = await asyncio.to_thread(cluster.all, "jobs")
        name = job["metadata"]["name"]
        await asyncio.to_thread(cluster.patch, "jobs", name, {"spec": {"suspend": True}})
        await said(executor, run.id, "suspended")
        async with asyncio.timeout(60):
            while await asyncio.to_thread(cluster.all, "pods"):  # noqa: ASYNC110 - far away
                await asyncio.sleep(0.05)
        # Longer than what a node says last may take to come.
        await asyncio.sleep(WORD_S + 1)
        await asyncio.to_thread(cluster.patch, "jobs", name, {"spec": {"suspend": False}})
        await said(executor, run.id, "image_pulling")
        cluster.double.images_come()
        followed = await executor.follow(run.id)

    assert {0: b"ran\n"} == followed.output
    assert RunState.RUN_STATE_SUCCEEDED == followed.run.state


async def test_a_run_that_was_ended_by_others_goes_on_where_that_is_wished(cluster: Site) -> None:
    program = """\
import os, time
with open("result/attempts", "a+") as file:
    file.write("x"); file.flush(); file.seek(0)
    attempt = len(file.read())
print("attempt", attempt)
if attempt < 2: time.sleep(120)
"""
    async with executor_in(cluster) as executor:
        run = await executor.begin(program, requeue=True)
        await executor.printed(run.id, b"attempt 1\n")
        (pod,) = await asyncio.to_thread(cluster.all, "pods")
        await asyncio.to_thread(cluster.delete, "pods", pod["metadata"]["name"])
        followed = await executor.follow(run.id)
        await nothing_left(cluster)

    assert {0: b"attempt 1\nattempt 2\n"} == followed.output
    assert (RunState.RUN_STATE_SUCCEEDED, 2) == (followed.run.state, followed.run.attempt)


# What ranks leave


async def test_links_and_pipes_that_ranks_put_in_our_folders_lead_nowhere(cluster: Site) -> None:
    program = """\
import os
for name in ("0", "7"):
    path = "/pollinator/output/" + name
    if os.path.lexists(path): os.unlink(path)
    os.symlink("{secret}", path)
os.mkfifo("/pollinator/output/8")
os.unlink("/pollinator/control/stop")
os.symlink("{victim}", "/pollinator/control/stop")
os.symlink("{secret}", "result/link")
import time
time.sleep({pause})
"""
    async with executor_in(cluster) as executor:
        secret, victim = executor.state / "secret", executor.state / "victim"
        secret.write_text("hunter2")
        victim.write_text("whole")
        first = await executor.run(program.format(secret=secret, victim=victim, pause=0))
        second = await executor.begin(program.format(secret=secret, victim=victim, pause=120))
        async with asyncio.timeout(30):
            place = executor.state / "runs" / second.id / "work" / "result" / "link"
            while not place.is_symlink():  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)
        await executor.cancel(second.id)
        ended = await executor.follow(second.id)

    assert {} == first.output
    assert "hunter2" not in str(first)
    assert RunState.RUN_STATE_SUCCEEDED == first.run.state
    assert RunState.RUN_STATE_CANCELLED == ended.run.state
    assert "whole" == victim.read_text()


async def test_a_journal_without_an_end_is_not_read_to_the_last_byte(cluster: Site) -> None:
    program = """\
with open("/pollinator/control/0", "a") as file:
    for _ in range(64): file.write("x" * (1 << 20))
raise SystemExit(3)
"""
    async with executor_in(cluster) as executor:
        followed = await executor.run(program)

    assert RunState.RUN_STATE_FAILED == followed.run.state
    assert 3 == followed.run.outcome.exit_code
    assert "left no record" in followed.run.outcome.detail
