"""Points at which a test can kill a process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PASSES = """
from pollinator.wire.faults import crash_point
for number in range(4):
    print(number, flush=True)
    crash_point("other")
    crash_point("here")
"""


def passed(crash_at: str | None) -> tuple[int, bytes]:
    """Exit code and how far the program came."""
    env = {} if crash_at is None else {"POLLINATOR_CRASH_AT": crash_at}
    done = subprocess.run([sys.executable, "-c", PASSES], env=env, capture_output=True, check=False)
    return done.returncode, done.stdout.split()[-1]


@pytest.mark.parametrize(
    ("crash_at", "expected"),
    [
        (None, (0, b"3")),
        ("", (0, b"3")),
        ("nowhere", (0, b"3")),
        ("here", (-9, b"0")),
        ("here:1", (-9, b"0")),
        ("here:3", (-9, b"2")),
        ("here:9", (0, b"3")),
    ],
)
def test_a_process_is_killed_where_the_variable_says(
    crash_at: str | None, expected: tuple[int, bytes]
) -> None:
    assert expected == passed(crash_at)


def test_with_a_folder_it_happens_once(tmp_path: Path) -> None:
    assert [(-9, b"1"), (0, b"3")] == [passed(f"here:2@{tmp_path}") for _ in range(2)]
