"""The example clients follow a run to its end, also when the daemon is killed meanwhile."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from support.components import missing, node, program
from support.private import CALLER
from support.sandbox import Sandbox, sandbox, wait_until
from support.source import ROOT

__all__ = ["sandbox"]
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

CLIENTS = ROOT / "examples/clients"
GO_SOURCES = Path("/usr/share/gocode")
"""Where Debian's packages of Go libraries put them."""

PRINTS = """\
import itertools, os, sys, time
for number in itertools.count():
    print("line", number, flush=True)
    time.sleep(0.02)
    if os.path.exists({enough!r}):
        break
sys.exit(3)
"""


def python_client(sandbox: Sandbox) -> list[str]:
    return [sys.executable, str(CLIENTS / "python/follow.py")]


def node_of_typescript() -> str:
    """It runs TypeScript as it is; the client's libraries are there."""
    if not (CLIENTS / "typescript/node_modules").is_dir():
        missing("the packages of the client in TypeScript are not installed: make editors", "editors")
    return node()


def typescript_client(sandbox: Sandbox) -> list[str]:
    return [node_of_typescript(), str(CLIENTS / "typescript/follow.ts")]


def go_client(sandbox: Sandbox) -> list[str]:
    """Built with the libraries of Debian, which has them as sources; their modules are not needed."""
    go = program("go", "go", "apt-get install golang-go")
    for name in ("protoc", "protoc-gen-go", "protoc-gen-go-grpc"):
        program(name, "go", "apt-get install protobuf-compiler protoc-gen-go protoc-gen-go-grpc")
    if not all((GO_SOURCES / "src/google.golang.org" / each).is_dir() for each in ("grpc", "protobuf")):
        packages = "golang-google-grpc-dev golang-github-golang-protobuf-1-5-dev"
        missing(f"gRPC for Go is not installed: apt-get install {packages}", "go")
    copy = sandbox.folder / "build"
    shutil.copytree(CLIENTS / "go", copy / "examples/clients/go")
    shutil.copytree(ROOT / "proto", copy / "proto", ignore=shutil.ignore_patterns("*.py*"))
    own = copy / "gopath/src/pollinator.dev"
    own.mkdir(parents=True)
    (own / "follow").symlink_to(copy / "examples/clients/go")
    cache = CALLER.get("GOCACHE") or str(Path(CALLER.get("HOME", "/"), ".cache/go-build"))
    env = os.environ | {"GO111MODULE": "off", "GOPATH": f"{copy}/gopath:{GO_SOURCES}", "GOCACHE": cache}
    subprocess.run(["sh", own / "follow/stubs.sh"], env=env, check=True)
    client = copy / "follow"
    subprocess.run([go, "build", "-o", client, "pollinator.dev/follow"], env=env, cwd="/", check=True)
    return [str(client)]


@pytest.mark.parametrize("client", [python_client, typescript_client, go_client])
def test_a_client_follows_a_run_whose_daemon_is_killed(
    sandbox: Sandbox, client: Callable[[Sandbox], list[str]]
) -> None:
    command = client(sandbox)
    enough, log = sandbox.folder / "enough", sandbox.folder / "output"
    root = sandbox.project(program=PRINTS.format(enough=str(enough)))
    assert 0 == sandbox.cli("daemon", "start", cwd=root).returncode
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [*command, str(root), str(sandbox.socket)],
            env=sandbox.env,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.PIPE,
        ) as following,
    ):
        try:
            wait_until(lambda: log.read_bytes().count(b"\n") > 30, "the client prints", 60)
            sandbox.kill_daemon()
            assert 0 == sandbox.cli("daemon", "start", cwd=root).returncode
            before = log.read_bytes().count(b"\n")
            wait_until(lambda: log.read_bytes().count(b"\n") > before + 30, "the client prints on", 60)
            enough.touch()
            _, messages = following.communicate(timeout=60)
        finally:
            following.kill()

    lines = log.read_text().splitlines()
    assert [f"line {number}" for number in range(len(lines))] == lines
    assert (3, True) == (following.returncode, b"RUN_STATE_FAILED" in messages), messages


@pytest.mark.parametrize("client", [python_client, typescript_client, go_client])
def test_a_client_takes_no_cancelled_run_for_success(
    sandbox: Sandbox, client: Callable[[Sandbox], list[str]]
) -> None:
    command = client(sandbox)
    root = sandbox.project(program=PRINTS.format(enough="/nowhere/at/all"))
    assert 0 == sandbox.cli("daemon", "start", cwd=root).returncode
    with subprocess.Popen(
        [*command, str(root), str(sandbox.socket)],
        env=sandbox.env,
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as following:
        try:
            assert following.stdout is not None
            assert following.stdout.readline()
            assert 0 == sandbox.cli("cancel", "latest", cwd=root).returncode
            _, messages = following.communicate(timeout=60)
        finally:
            following.kill()

    assert b"RUN_STATE_CANCELLED" in messages
    assert 0 != following.returncode


def test_the_client_in_typescript_is_what_it_says() -> None:
    folder = CLIENTS / "typescript"
    command = [node_of_typescript(), str(folder / "node_modules/typescript/bin/tsc"), "--noEmit"]

    checked = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)

    assert (0, "") == (checked.returncode, checked.stdout)
