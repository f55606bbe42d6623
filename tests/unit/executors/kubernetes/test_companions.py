"""What starts the programs beside the ranks of a pod, and hears for them that they are to end."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from pollinator.executors.kubernetes.companions import ENDS, NOTES_IT
from support.sandbox import wait_until


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_what_starts_fetch_hears_that_it_is_to_end_from_the_first_moment_on(shell: str) -> None:
    slow = ["sleep", "60"]
    with subprocess.Popen([shell, "-c", ENDS, "fetch", *slow]) as process:
        wait_until(lambda: b"sleep" in children_of(process.pid), "it has begun")
        process.terminate()
        assert 128 + signal.SIGTERM == process.wait(10)


def children_of(pid: int) -> bytes:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return b"".join(Path(f"/proc/{each}/cmdline").read_bytes() for each in found)


@pytest.mark.parametrize("code", [0, 1, 143])
@pytest.mark.parametrize("script", [ENDS, NOTES_IT])
def test_what_starts_both_ends_as_they_do(script: str, code: int) -> None:
    ended = subprocess.run(["sh", "-c", script, "x", "sh", "-c", f"exit {code}"], check=False)

    assert code == ended.returncode


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_what_starts_collect_leaves_word_that_it_is_to_end_and_waits_for_it(
    shell: str, tmp_path: Path
) -> None:
    word, end = tmp_path / "ending", tmp_path / "end"
    program = f"echo up; until [ -e {end} ]; do sleep 0.05; done; exit 7"
    command = [shell, "-c", NOTES_IT, str(word), "sh", "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert b"up\n" == process.stdout.readline()
        process.terminate()
        wait_until(word.exists, "there is word")
        assert process.poll() is None
        end.touch()
        assert 7 == process.wait(10)
