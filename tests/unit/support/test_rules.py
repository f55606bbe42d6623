"""The rules that hold for every test: each is broken here, in a run of its own, and fails the test."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[2]
CONFTEST = """\
import support.leaks

support.leaks.GRACE_S = 0.05
pytest_plugins = ["support.private", "support.leaks", "support.blocking"]
"""
PROGRAM = """\
import asyncio, os, socket, subprocess, threading, time
import pytest
from pathlib import Path
from pollinator.cli.daemon_log import follow_log

KEPT = []
SEEN = set()

def teardown_module():
    for each in KEPT:
        if isinstance(each, subprocess.Popen):
            each.kill()
            each.wait()

def test_a_file():
    KEPT.append(open(__file__))

def test_a_socket():
    KEPT.append(socket.socket())

def test_a_process():
    KEPT.append(subprocess.Popen(["sleep", "20"]))

def test_a_thread():
    threading.Thread(target=time.sleep, args=(2,), name="late").start()

async def test_a_task():
    KEPT.append(asyncio.get_running_loop().create_task(asyncio.sleep(9)))

async def test_a_wait():
    follow_log(Path("/dev/null"), 0, print)

@pytest.fixture(scope="module")
def server():
    with subprocess.Popen(["sleep", "20"], stdout=subprocess.PIPE) as process:
        yield process
        process.kill()

def test_a_process_beside_a_server(request):
    request.getfixturevalue("server")
    KEPT.append(subprocess.Popen(["sleep", "20"]))

def test_a_server(request):
    request.getfixturevalue("server")

def test_nothing():
    with open(__file__), socket.socket(), subprocess.Popen("true"):
        thread = threading.Thread(target=print)
        thread.start()
        thread.join()

async def test_no_task():
    await asyncio.gather(asyncio.sleep(0), asyncio.sleep(0))

def test_one_user():
    look()

def test_another_user():
    look()

def look():
    for name in ("HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR"):
        assert os.environ[name] not in SEEN
        assert [] == os.listdir(os.environ[name])
        SEEN.add(os.environ[name])
    assert "AWS_S3_ENDPOINT" not in os.environ
"""
BROKEN = {
    "a_file": f"the test leaves behind: {os.sep}",
    "a_socket": "the test leaves behind: socket",
    "a_process": "the test leaves behind: child process",
    "a_process_beside_a_server": "the test leaves behind: child process",
    "a_thread": "the test leaves behind: thread late",
    "a_task": "the test leaves tasks behind: {<Task",
    "a_wait": "Blocking call to time.sleep",
}
KEPT = {"a_server", "nothing", "no_task", "one_user", "another_user"}


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The summary of a run of the program: a line for each test that failed or passed."""
    folder = tmp_path_factory.mktemp("rules")
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_it.py").write_text(PROGRAM)
    (folder / "pytest.ini").write_text(f"[pytest]\nasyncio_mode = auto\npythonpath = {TESTS}\n")
    environment = os.environ | {"COLUMNS": "300", "AWS_S3_ENDPOINT": "s3.example.org"}
    command = [sys.executable, "-m", "pytest", "-q", "-rfEp", "-p", "no:cacheprovider", "-W", "ignore"]
    ended = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, env=environment, timeout=50, check=False
    )
    return ended.stdout.partition("short test summary info")[2].splitlines()


@pytest.mark.parametrize("rule", BROKEN)
def test_a_test_that_breaks_a_rule_fails(said: list[str], rule: str) -> None:
    [line] = [each for each in said if f"::test_{rule} - " in each]

    assert line.startswith(("ERROR", "FAILED"))
    assert BROKEN[rule] in line


def test_tests_that_keep_the_rules_pass(said: list[str]) -> None:
    failed = {each for each in KEPT for line in said if f"::test_{each} - " in line}
    passed = {each for each in KEPT if f"PASSED test_it.py::test_{each}" in said}

    assert (set(), KEPT) == (failed, passed)
