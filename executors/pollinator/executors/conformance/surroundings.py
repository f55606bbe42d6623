"""What every executor promises about a run's files and surroundings: one suite, run against each of them."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import pytest

from pollinator.executors.conformance.asking import make_spec
from pollinator.executors.conformance.client import CALL_S, FEATURES, ExecutorUnderTest, Followed
from pollinator.executors.conformance.trees import File, Folder, Link, Listing, random_bytes
from pollinator.v1.executor_pb2 import PreflightRequest
from pollinator.v1.run_pb2 import OutcomeReason, RunState
from pollinator.v1.spec_pb2 import EnvironmentVariable

SHOW_FILES = """\
import hashlib, json, os
found = {}
for tree in (b"src", b"data"):
    for folder, folders, files in os.walk(tree):
        for name in folders + files:
            path = os.path.join(folder, name)
            mode = os.lstat(path).st_mode & 0o7777
            if os.path.islink(path):
                found[path.hex()] = ["link", 0o777, os.readlink(path).hex()]
            elif os.path.isdir(path):
                found[path.hex()] = ["folder", mode, ""]
            else:
                with open(path, "rb") as file:
                    found[path.hex()] = ["file", mode, hashlib.sha256(file.read()).hexdigest()]
print(json.dumps(found))
"""
SHOW_SURROUNDINGS = """\
import json, os, sys
print(json.dumps({"env": dict(os.environ), "cwd": os.getcwd(), "argv": sys.argv, "below": os.listdir()}))
"""
MEETS = """\
import os, socket, time
rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
address = (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
if rank == 0:
    with socket.create_server(address) as server:
        peers = [server.accept()[0] for _ in range(world - 1)]
    ranks = sorted(int(peer.recv(16)) for peer in peers)
    for peer in peers:
        peer.sendall(repr(ranks).encode())
    print(ranks)
else:
    while True:
        try:
            peer = socket.create_connection(address)
            break
        except ConnectionRefusedError:
            time.sleep(0.01)
    peer.sendall(str(rank).encode())
    print(peer.recv(64).decode())
"""


def variables(**values: str) -> list[EnvironmentVariable]:
    return [EnvironmentVariable(name=name, value=value) for name, value in sorted(values.items())]


def shown(ended: Followed) -> dict[int, dict[str, Any]]:
    """What each rank saw."""
    assert ended.run.state == RunState.RUN_STATE_SUCCEEDED, (ended.run, ended.output)
    return {rank: json.loads(text) for rank, text in ended.output.items()}


def flat(prefix: bytes, listing: Listing) -> dict[str, list[object]]:
    """The listing as ``SHOW_FILES`` prints it."""
    found: dict[str, list[object]] = {}
    for name, what in listing.items():
        path = prefix + b"/" + name
        match what:
            case bytes():
                found[path.hex()] = ["file", 0o644, hashlib.sha256(what).hexdigest()]
            case File(data, mode):
                found[path.hex()] = ["file", mode, hashlib.sha256(data).hexdigest()]
            case Link(target):
                found[path.hex()] = ["link", 0o777, target.hex()]
            case Folder(below, mode):
                found |= {path.hex(): ["folder", mode, ""], **flat(path, below)}
            case Mapping():
                found |= {path.hex(): ["folder", 0o755, ""], **flat(path, what)}
            case _:
                raise AssertionError(what)
    return found


# What it says about itself


async def test_it_says_what_it_is_and_what_it_can_do(executor: ExecutorUnderTest) -> None:
    about = await executor.describe()

    assert (True, "") == (about.healthy, about.health_detail)
    assert about.name
    assert about.kind
    assert about.version
    limits = await executor.limits()
    assert limits.cpu_millis >= 1000
    assert limits.memory_bytes > 1 << 28


async def test_it_has_every_feature_but_those_it_opts_out_of_by_name(executor: ExecutorUnderTest) -> None:
    about = await executor.describe()

    assert FEATURES - set(executor.without) == set(about.capabilities.features)


async def test_a_spec_that_can_run_passes_preflight(executor: ExecutorUnderTest) -> None:
    answer = await executor.about.Preflight(PreflightRequest(spec=make_spec()), timeout=CALL_S)

    assert [] == list(answer.notices)


# Files


async def test_the_files_of_the_snapshot_are_exactly_there(executor: ExecutorUnderTest) -> None:
    odd = (b"\xff\xfe", b"new\nline", b" ", b"-rf", b"$(x)", b"%s", "é".encode(), b"n" * 255, b"a\\b", b"...")
    src: Listing = {
        b"main.py": SHOW_FILES.encode(),
        b"run": File(b"#!/bin/sh\n", 0o755),
        b"private": File(b"x" * 200, 0o600),
        b"read-only": File(b"y" * 200, 0o444),
        b"empty": b"",
        b"none": {},
        b"up": {b"link": Link(b"../run"), b"below": {b"same": b"z"}},
        b"to-folder": Link(b"up/below"),
        b"dangling": Link(b"nowhere"),
        b"odd": {name: name for name in odd},
    }
    data: Listing = {
        b"large": random_bytes(5 << 20),
        b"many": {b"%d" % at: b"%d" % at * 60 for at in range(300)},
        b"locked": Folder({b"inside": b"in", b"deeper": Folder({}, 0o500)}, 0o555),
        b"mine": Folder({}, 0o700),
    }
    run = await executor.launch(make_spec(), await executor.publish(src, data))
    ended = await executor.follow(run.id)

    assert flat(b"src", src) | flat(b"data", data) == shown(ended)[0]


async def test_a_link_that_leaves_the_tree_ends_the_run_before_it_starts(executor: ExecutorUnderTest) -> None:
    snapshot = await executor.publish({b"main.py": b"print('ran')", b"out": Link(b"../../../etc")})
    run = await executor.launch(make_spec(), snapshot)
    ended = await executor.follow(run.id)

    assert {} == ended.output
    assert RunState.RUN_STATE_FAILED == ended.run.state
    assert OutcomeReason.OUTCOME_REASON_MATERIALISE == ended.run.outcome.reason


async def test_a_link_may_leave_the_tree_when_the_project_allows_it(executor: ExecutorUnderTest) -> None:
    program = b"import os; print(os.readlink('src/out'))"
    snapshot = await executor.publish({b"main.py": program, b"out": Link(b"../../../etc")})
    run = await executor.launch(make_spec(allow_external_links=True), snapshot)

    assert {0: b"../../../etc\n"} == (await executor.follow(run.id)).output


async def test_a_snapshot_that_is_not_in_the_store_ends_the_run(executor: ExecutorUnderTest) -> None:
    snapshot = await executor.publish({b"main.py": b""})
    snapshot.key = f"s/00/{'0' * 64}"
    run = await executor.launch(make_spec(), snapshot)
    ended = await executor.follow(run.id)

    assert RunState.RUN_STATE_FAILED == ended.run.state
    assert OutcomeReason.OUTCOME_REASON_MATERIALISE == ended.run.outcome.reason
    assert snapshot.key in ended.run.outcome.detail


# Surroundings


async def test_one_rank_sees_the_contract(executor: ExecutorUnderTest) -> None:
    ended = await executor.run(SHOW_SURROUNDINGS)
    seen = shown(ended)[0]
    port = seen["env"]["MASTER_PORT"]
    contract = {
        "POLLINATOR_RUN_ID": ended.run.id,
        "POLLINATOR_PROJECT": "demo",
        "POLLINATOR_SRC": f"{seen['cwd']}/src",
        "POLLINATOR_DATA": f"{seen['cwd']}/data",
        "POLLINATOR_RESULT": f"{seen['cwd']}/result",
        "POLLINATOR_NODE_RANK": "0",
        "POLLINATOR_NNODES": "1",
        "POLLINATOR_NODELIST": ended.run.nodes[0],
        "RANK": "0",
        "LOCAL_RANK": "0",
        "WORLD_SIZE": "1",
        "LOCAL_WORLD_SIZE": "1",
        "MASTER_ADDR": seen["env"]["MASTER_ADDR"],
        "MASTER_PORT": port,
        "PROJECT_DIR": seen["cwd"],
        "COLONIES_PROCESS_ID": await executor.process_id(ended.run.id),
    }

    assert contract == {name: seen["env"].get(name) for name in contract}
    assert 1024 <= int(port) < 65536
    assert ["data", "result", "src"] == sorted(seen["below"])
    assert [] == [name for name, value in seen["env"].items() if "keep-out" in value]
    ours = [name for name in seen["env"] if name.startswith(("POLLINATOR_", "COLONIES_"))]
    assert [] == [name for name in ours if name not in contract]


async def test_every_rank_sees_its_place(executor: ExecutorUnderTest) -> None:
    ended = await executor.run(SHOW_SURROUNDINGS, nodes=2, processes_per_node=2)
    seen = {rank: each["env"] for rank, each in shown(ended).items()}
    names = ["RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"]
    names += ["POLLINATOR_NODE_RANK", "POLLINATOR_NNODES", "POLLINATOR_NODELIST"]
    nodes = ",".join(ended.run.nodes)

    assert {
        0: ["0", "0", "4", "2", "0", "2", nodes],
        1: ["1", "1", "4", "2", "0", "2", nodes],
        2: ["2", "0", "4", "2", "1", "2", nodes],
        3: ["3", "1", "4", "2", "1", "2", nodes],
    } == {rank: [env[name] for name in names] for rank, env in seen.items()}
    assert 2 == len(ended.run.nodes)
    assert 1 == len({(env["MASTER_ADDR"], env["MASTER_PORT"]) for env in seen.values()})


async def test_the_ranks_meet_at_the_master_port(executor: ExecutorUnderTest) -> None:
    ended = await executor.run(MEETS, nodes=2, processes_per_node=2)

    assert dict.fromkeys(range(4), b"[1, 2, 3]\n") == ended.output


async def test_runs_at_the_same_time_have_different_master_ports(executor: ExecutorUnderTest) -> None:
    program = (
        "import os, socket, time\n"
        "server = socket.create_server((os.environ['MASTER_ADDR'], int(os.environ['MASTER_PORT'])))\n"
        "print('bound', os.environ['MASTER_PORT'])\n"
        "time.sleep(60)\n"
    )
    runs = await asyncio.gather(*(executor.begin(program) for _ in range(6)))
    bound = await asyncio.gather(*(executor.printed(run.id, b"\n") for run in runs))
    await asyncio.gather(*(executor.cancel(run.id) for run in runs))
    await asyncio.gather(*(executor.follow(run.id) for run in runs))

    assert all(text.startswith(b"bound ") for text in bound), bound
    assert 6 == len(set(bound))


async def test_the_command_gets_the_source_and_the_arguments_as_they_are(executor: ExecutorUnderTest) -> None:
    arguments = ["a b", "", "--x=é", "$HOME", "*", "it's", '"', "\\n"]
    snapshot = await executor.publish({b"dir": {b"odd name.py": SHOW_SURROUNDINGS.encode()}})
    run = await executor.launch(make_spec(source="dir/odd name.py", arguments=arguments), snapshot)
    seen = shown(await executor.follow(run.id))[0]

    assert [f"{seen['cwd']}/src/dir/odd name.py", *arguments] == seen["argv"]


async def test_the_command_is_split_as_a_shell_splits_words(executor: ExecutorUnderTest) -> None:
    ended = await executor.run("", command="printf '%s|' 'a b' \"c d\" e\\ f", source="")

    assert {0: b"a b|c d|e f|"} == ended.output


async def test_a_program_of_the_project_can_be_the_command(executor: ExecutorUnderTest) -> None:
    snapshot = await executor.publish({b"run": File(b'#!/bin/sh\necho "ran $1"\n', 0o755)})
    run = await executor.launch(make_spec(command="src/run it", source=""), snapshot)

    assert {0: b"ran it\n"} == (await executor.follow(run.id)).output


async def test_variables_of_the_spec_reach_every_rank(executor: ExecutorUnderTest) -> None:
    given = {"GREETING": "hej då\n$HOME", "EMPTY": "", "PYTHONUNBUFFERED": ""}
    ended = await executor.run(SHOW_SURROUNDINGS, processes_per_node=2, environment=variables(**given))

    assert [given, given] == [
        {name: each["env"].get(name) for name in given} for each in shown(ended).values()
    ]


async def test_secrets_reach_every_rank_and_no_record(executor: ExecutorUnderTest) -> None:
    executor.needs("secrets")
    program = "import os; print(os.environ['TOKEN'][::-1])"
    ended = await executor.run(program, processes_per_node=2, secrets={"TOKEN": "hunter2-secret"})

    assert dict.fromkeys(range(2), b"terces-2retnuh\n") == ended.output
    assert "hunter2" not in str(ended)


async def test_secrets_are_in_no_file_while_they_are_used(executor: ExecutorUnderTest) -> None:
    executor.needs("secrets")
    executor.here()
    program = "import os, time; print(os.environ['TOKEN'][::-1]); time.sleep(60)"
    run = await executor.begin(program, secrets={"TOKEN": "hunter2-secret"})
    await executor.printed(run.id, b"terces")
    await executor.reached(run.id, RunState.RUN_STATE_RUNNING)
    while_it_runs = executor.holding(b"hunter2-secret")
    await executor.cancel(run.id)
    await executor.follow(run.id)
    after = executor.holding(b"hunter2-secret")

    assert [] == while_it_runs
    assert [] == after


# init-cmd


async def test_init_cmd_runs_once_before_the_ranks_and_in_their_place(executor: ExecutorUnderTest) -> None:
    init = "echo \"init $RANK $GREETING $(ls | tr '\\n' ' ')\"; echo once >> result/init"
    program = "import os; print('rank', os.path.exists('result/init'))"
    ended = await executor.run(
        program, init_command=init, processes_per_node=2, environment=variables(GREETING="hej")
    )

    assert {0: b"init 0 hej data result src \nrank True\n", 1: b"rank True\n"} == ended.output
    assert (b"init", ("file", 0o644, b"once\n")) in (await executor.results(ended.run)).items()


async def test_no_rank_starts_when_init_cmd_fails(executor: ExecutorUnderTest) -> None:
    ended = await executor.run("print('ran')", init_command="echo no; exit 9", processes_per_node=2)

    assert {0: b"no\n"} == ended.output
    assert RunState.RUN_STATE_FAILED == ended.run.state
    assert (OutcomeReason.OUTCOME_REASON_EXIT_CODE, 9) == (
        ended.run.outcome.reason,
        ended.run.outcome.exit_code,
    )
    assert "init-cmd" in ended.run.outcome.detail


async def test_init_cmd_is_held_to_the_time_limit(executor: ExecutorUnderTest) -> None:
    executor.needs("time_limit")
    ended = await executor.run("print('ran')", init_command="sleep 50", walltime_ms=300)

    assert {} == ended.output
    assert OutcomeReason.OUTCOME_REASON_TIME_LIMIT == ended.run.outcome.reason


async def test_init_cmd_can_be_cancelled(executor: ExecutorUnderTest) -> None:
    executor.needs("cancel")
    run = await executor.begin("print('ran')", init_command="echo up; sleep 50")
    await executor.printed(run.id, b"up")
    await executor.cancel(run.id)
    ended = await executor.follow(run.id)

    assert {0: b"up\n"} == ended.output
    assert RunState.RUN_STATE_CANCELLED == ended.run.state


# Images


async def test_without_containers_the_command_runs_on_the_host_and_that_is_said(
    executor: ExecutorUnderTest,
) -> None:
    if "containers" not in executor.without:
        pytest.skip(f"{executor.name} has containers")
    spec = make_spec(image="ubuntu:24.04", init_command="exit 9")
    answer = await executor.about.Preflight(PreflightRequest(spec=spec), timeout=CALL_S)
    ended = await executor.run("print('ran')", image="ubuntu:24.04", init_command="exit 9")

    assert ["no_container_engine"] == [notice.code for notice in answer.notices]
    assert {0: b"ran\n"} == ended.output
