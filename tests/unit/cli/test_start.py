"""What a command costs before it does anything: no gRPC, S3 client or protocol unless it needs them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("grpc", "boto3", "botocore", "google.protobuf", "pollinator.v1", "asyncio", "yaml")

PROGRAM = """
import sys
from pollinator.cli.main import run_command_line
code = run_command_line(sys.argv[2:])
loaded = [name for name in sys.argv[1].split(",") if name in sys.modules]
sys.stderr.write(f"{code} {loaded}")
"""


def run(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROGRAM, ",".join(HEAVY), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["completion", "bash"],
        ["help", "exit-codes"],
        ["run", "--help"],
        ["executors", "--help"],
        ["schema"],
    ],
)
def test_a_command_that_asks_nobody_loads_no_client(arguments: list[str]) -> None:
    done = run(arguments)

    assert done.stderr == "0 []"
    assert done.stdout


def test_making_a_project_loads_no_client(home: Path) -> None:
    done = run(["new", str(home / "demo")])

    assert done.stderr.splitlines()[-1] == "0 []"
    assert (home / "demo" / "project.yaml").is_file()
