"""The whole path on one machine: save, run, output, results, exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.sandbox import Sandbox, sandbox, wait_until

__all__ = ["sandbox"]
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

LEAVES_RESULT = (
    "import os, sys, time\nopen(os.environ['POLLINATOR_RESULT'] + '/left.txt', 'w').write('before the end')\n"
)

ENDINGS: dict[str, tuple[str, list[str], int]] = {
    "exit_code": ("sys.exit(3)", [], 3),
    "signal": ("os.kill(os.getpid(), 11)", [], 139),
    "out_of_memory": ("x = bytearray(400 << 20)", [], 137),
    "time_limit": ("time.sleep(60)", ["--set", "conditions.walltime=1"], 124),
}


@pytest.mark.parametrize("reason", ENDINGS)
def test_how_a_run_ended_is_shown_and_its_results_are_home(sandbox: Sandbox, reason: str) -> None:
    program, options, code = ENDINGS[reason]
    root = sandbox.project(program=LEAVES_RESULT + program)

    ended = sandbox.cli("run", "--follow", *options, cwd=root)

    assert code == ended.returncode, ended.stderr
    assert reason == sandbox.reason("latest", root)
    assert "before the end" == (root / "cfs/result/left.txt").read_text()


def test_output_is_on_stdout_and_messages_are_on_stderr(sandbox: Sandbox) -> None:
    root = sandbox.project(program="print('the output')\n")

    ended = sandbox.cli("run", "--follow", cwd=root)

    assert b"the output\n" == ended.stdout
    assert b"Process submitted  ProcessID=" in ended.stderr
    assert b"Process finished successfully  ProcessID=" in ended.stderr
    assert 0 == ended.returncode


def test_a_locally_edited_result_is_kept_and_the_new_one_lies_beside_it(sandbox: Sandbox) -> None:
    root = sandbox.project(program="open('result/r.txt', 'w').write(open('src/n').read())\n")
    (root / "cfs/src/n").write_text("first")
    assert 0 == sandbox.cli("run", "--follow", cwd=root).returncode
    (root / "cfs/result/r.txt").write_text("edited")
    (root / "cfs/src/n").write_text("second")

    ended = sandbox.cli("run", "--follow", "--json", cwd=root)

    assert 0 == ended.returncode, ended.stderr
    assert "edited" == (root / "cfs/result/r.txt").read_text()
    copies = [path for path in (root / "cfs/result").iterdir() if path.name.startswith("r.txt.")]
    assert ["second"] == [copy.read_text() for copy in copies]


def test_secrets_reach_the_ranks_and_nothing_else(sandbox: Sandbox, tmp_path: Path) -> None:
    root = sandbox.project(program="import os; print(len(os.environ['TOKEN']))\n")
    secrets = tmp_path / "secrets.env"
    secrets.write_text("TOKEN=hunter2-never-recorded\n")
    secrets.chmod(0o600)

    ended = sandbox.cli("run", "--follow", "--secret-file", str(secrets), cwd=root)

    assert (0, b"22\n") == (ended.returncode, ended.stdout), ended.stderr
    found = [
        str(path)
        for path in sandbox.state.rglob("*")
        if path.is_file() and b"hunter2-never-recorded" in path.read_bytes()
    ]
    assert [] == found


def test_every_rank_sees_the_contract(sandbox: Sandbox) -> None:
    program = "import os; print(json.dumps({k: os.environ[k] for k in NAMES}))"
    names = ["RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "POLLINATOR_NODE_RANK"]
    root = sandbox.project(program=f"import json\nNAMES = {names!r}\n{program}\n")

    sizes = ["--set", "conditions.nodes=2", "--set", "conditions.processesPerNode=2"]
    ended = sandbox.cli("run", "--follow", "--raw", *sizes, cwd=root)

    seen = sorted((json.loads(line) for line in ended.stdout.splitlines()), key=lambda each: each["RANK"])
    expected = [
        {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank % 2),
            "WORLD_SIZE": "4",
            "LOCAL_WORLD_SIZE": "2",
            "MASTER_ADDR": "127.0.0.1",
            "POLLINATOR_NODE_RANK": str(rank // 2),
        }
        for rank in range(4)
    ]
    assert expected == seen


def test_a_cancelled_run_ends_and_its_results_are_home(sandbox: Sandbox) -> None:
    root = sandbox.project(program=LEAVES_RESULT + "print('up')\ntime.sleep(60)\n")
    with sandbox.start_cli("run", "--follow", cwd=root) as follower:
        assert follower.stdout is not None
        assert b"up\n" == follower.stdout.readline()

        cancelled = sandbox.cli("cancel", "latest", cwd=root)

        follower.communicate(timeout=30)
    assert 0 == cancelled.returncode, cancelled.stderr
    assert 103 == follower.returncode
    assert "cancelled" == sandbox.show("latest", root)["state"]
    assert "before the end" == (root / "cfs/result/left.txt").read_text()


def test_a_run_waits_for_cores_and_says_so(sandbox: Sandbox) -> None:
    root = sandbox.project(program="import time\nprint('up')\ntime.sleep(float(open('data/s').read()))\n")
    (root / "cfs/data/s").write_text("60")
    with sandbox.start_cli("run", "--follow", "--set", "conditions.cpu=1000", cwd=root) as first:
        assert first.stdout is not None
        assert b"up\n" == first.stdout.readline()
        (root / "cfs/data/s").write_text("0")
        second = sandbox.cli("run", cwd=root)
        name = second.stdout.decode().strip()
        wait_until(lambda: sandbox.show(name, root)["state"] == "queued", "the second run waits")

        pending = sandbox.show(name, root)["pending"]

        assert isinstance(pending, dict)
        assert "cpu" == pending["code"]
        sandbox.cli("cancel", "--all", cwd=root)
        first.communicate(timeout=30)


def test_an_executor_is_told_that_all_of_a_run_is_here(sandbox: Sandbox) -> None:
    root = sandbox.project()
    run = sandbox.cli("run", cwd=root).stdout.decode().strip()
    ended = sandbox.cli("wait", run, cwd=root)
    forgotten = sandbox.state / "executors" / "local" / "runs" / run / "forgotten"

    assert 0 == ended.returncode, ended.stderr
    wait_until(forgotten.exists, "the executor need not keep the run")
    assert b"hello\n" == sandbox.cli("logs", run, cwd=root).stdout
