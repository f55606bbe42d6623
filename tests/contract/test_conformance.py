"""The suite of the contract as third parties run it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from support.executing import started
from support.sandbox import BIN

pytestmark = pytest.mark.timeout(120)


def conformance(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [str(BIN / "pollinator-executor"), "conformance", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=100, check=False)


async def test_the_suite_runs_against_an_executor_that_somebody_has_started(tmp_path: Path) -> None:
    async with started("local") as executor:
        only = "exit_code or pages or surroundings or no_file"
        done = conformance("--executor", executor.address, "--only", only, cwd=tmp_path)

        assert 0 == done.returncode, done.stdout
        assert f"executor: {executor.address}" in done.stdout
        assert "cannot be seen from here" in done.stdout
        assert "warning" not in done.stdout


def test_an_executor_that_is_not_there_fails_the_suite(tmp_path: Path) -> None:
    done = conformance("--executor", f"unix:{tmp_path}/none", "--only", "pages", cwd=tmp_path)

    assert 1 == done.returncode
    assert "error" in done.stdout
