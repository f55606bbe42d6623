"""What ``make demo`` shows."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

import pytest

from support.sandbox import BIN
from support.source import ROOT

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


def test_the_demo_ends_with_the_output_of_a_job_and_leaves_nothing() -> None:
    with tempfile.TemporaryDirectory(prefix="pol-") as folder:
        shown = subprocess.run(
            ["sh", ROOT / "docs/demo.sh", BIN],
            env=os.environ
            | {"TMPDIR": folder, "AWS_S3_ENDPOINT": "s3.example.org", "POLLINATOR_STORE": "s3:x"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        left = os.listdir(folder)

    assert 0 == shown.returncode, shown.stderr
    assert shown.stdout.startswith("Hello from")
    assert shown.stdout.endswith("Data: Hello world!\n\n") or shown.stdout.endswith("Data: Hello world!\n")
    assert [] == left
    assert [] == [pid for pid in os.listdir("/proc") if pid.isdecimal() and mentions(pid, folder)]


def mentions(pid: str, folder: str) -> bool:
    """This process was started with the folder in its arguments or its environment."""
    try:
        return any(
            folder.encode() in Path(f"/proc/{pid}/{name}").read_bytes() for name in ("cmdline", "environ")
        )
    except OSError:
        return False
