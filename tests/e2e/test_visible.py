"""What a user sees of the daemon at work: how far a sync is, what is left out and why, metrics."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest
from prometheus_client.parser import text_string_to_metric_families

from pollinator.daemon.metrics import TABLE
from pollinator.executors.conformance.trees import random_bytes
from support.sandbox import BIN, Sandbox, sandbox, wait_until
from support.scripted_s3 import Answer, serving

__all__ = ["sandbox"]
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

EMPTY_BUCKET = b"""\
<ListBucketResult><Name>bucket</Name><KeyCount>0</KeyCount><IsTruncated>false</IsTruncated></ListBucketResult>"""
FRAME = "\r\x1b[K"


@pytest.fixture
def slow_s3() -> Iterator[dict[str, str]]:
    """The variables of an S3 server that takes anything, slowly."""
    with serving(Answer(body=EMPTY_BUCKET)) as (script, port):
        script.pause_s = 0.02
        yield {
            "AWS_S3_ENDPOINT": f"127.0.0.1:{port}",
            "AWS_S3_TLS": "false",
            "AWS_S3_BUCKET": "bucket",
            "AWS_S3_ACCESSKEY": "key",
            "AWS_S3_SECRETKEY": "secret",
        }


def terminal(sandbox: Sandbox, root: Path, columns: int, *words: str, **env: str) -> pexpect.spawn[str]:
    """A command on a terminal of that width."""
    made: pexpect.spawn[str] = pexpect.spawn(
        str(BIN / "pollinator"),
        list(words),
        cwd=str(root),
        env={**sandbox.env, "TERM": "xterm", "NO_COLOR": "1", **env},
        dimensions=(24, columns),
        encoding="utf-8",
        timeout=60,
    )
    return made


@pytest.mark.parametrize("columns", [80, 40])
def test_a_long_upload_has_a_bar_that_fits_and_moves_within_a_file(
    sandbox: Sandbox, slow_s3: dict[str, str], columns: int
) -> None:
    root = sandbox.project()
    (root / "cfs/data/big").write_bytes(random_bytes(24 << 20))

    child = terminal(sandbox, root, columns, "sync", **slow_s3)
    child.expect(pexpect.EOF)
    child.close()
    shown = str(child.before)

    bars = [line for line in shown.split(FRAME) if line.startswith("Uploading")]
    shares = [int(share) for share in re.findall(r"Uploading.* (\d+)%", "\n".join(bars))]
    assert 0 == child.exitstatus, shown
    assert len(set(shares)) > 2, shown
    assert sorted(shares) == shares
    assert all(len(bar) < columns for bar in bars)
    assert "left" in bars[0]
    assert "files:           2" in shown


def test_in_a_pipe_nothing_moves(sandbox: Sandbox, slow_s3: dict[str, str]) -> None:
    root = sandbox.project()
    (root / "cfs/data/big").write_bytes(random_bytes(24 << 20))

    ended = sandbox.cli("sync", cwd=root, env=slow_s3)

    assert (0, b"") == (ended.returncode, ended.stderr)


def test_the_state_during_a_sync_says_how_far_it_is(sandbox: Sandbox, slow_s3: dict[str, str]) -> None:
    root = sandbox.project()
    (root / "cfs/data/big").write_bytes(random_bytes(48 << 20))
    states: list[dict[str, Any]] = []
    with sandbox.start_cli("sync", cwd=root, env=slow_s3) as syncing:
        wait_until(lambda: sandbox.daemon_pid() > 0 and sandbox.socket.exists(), "the daemon is there")
        with sandbox.start_cli("status", "--watch", "--json", cwd=root) as watching:
            assert watching.stdout is not None
            for line in watching.stdout:
                states += json.loads(line)["projects"]
                if states and states[-1]["state"] == "in_sync" and states[-1]["bytes"] > 48 << 20:
                    break
            watching.terminate()
            watching.stdout.close()
        syncing.communicate()

    moving = [each for each in states if each["activity"]["send_rate"] and each["backlog_bytes"]]
    assert moving
    assert len({each["backlog_bytes"] for each in moving}) > 2
    assert [each for each in moving if each["activity"]["time_left_s"]]
    assert states[-1]["activity"]["bytes_sent"] >= 48 << 20
    assert 0 == states[-1]["backlog_files"]


def test_who_watches_on_a_terminal_sees_one_report_that_changes(sandbox: Sandbox) -> None:
    root = sandbox.project()
    assert 0 == sandbox.cli("sync", cwd=root).returncode
    watching = terminal(sandbox, root, 60, "status", "--watch")
    watching.expect(r"in sync")
    (root / "cfs/data/more").write_text("more")
    watching.expect(r"\x1b\[\d+A")
    watching.expect(r"files:             2 ")
    watching.sendintr()
    watching.expect(pexpect.EOF)
    watching.close()

    assert 130 == watching.exitstatus


def test_when_much_is_to_be_sent_the_largest_is_named(sandbox: Sandbox, slow_s3: dict[str, str]) -> None:
    root = sandbox.project()
    (root / "cfs/data/cache").mkdir()
    with (root / "cfs/data/cache/holes").open("wb") as file:
        file.truncate(2 << 30)
    (root / "cfs/data/big").write_bytes(random_bytes(16 << 20))

    ended = sandbox.cli("run", cwd=root, env=slow_s3)
    lines = ended.stderr.decode().splitlines()
    listed = sandbox.cli("status", "--biggest", "--json", cwd=root)

    assert "There is much to send. The largest:" == lines[0]
    assert "   2.0 GiB  cfs/data/cache/holes" == lines[1]
    assert any("echo /cfs/data/cache/holes >> .pollinatorignore" in line for line in lines)
    (project,) = [json.loads(line) for line in listed.stdout.splitlines()]
    assert {"path": "data/cache/holes", "directory": False, "files": 1, "bytes": 2 << 30} == project[
        "biggest"
    ][0]


def test_why_a_path_is_left_out_is_told_as_git_check_ignore_would(sandbox: Sandbox) -> None:
    root = sandbox.project()
    (root / ".pollinatorignore").write_text("*.log\nbuild/\n!keep.log\n")
    asked = ("a.log", "keep.log", "build/x/y", ".git/", "main.py", "../../README", "\udcff.log")

    told = sandbox.cli("ignored", "--why", *asked, cwd=root / "cfs/src")
    names = sandbox.cli("ignored", *asked, cwd=root / "cfs/src")
    kept = sandbox.cli("ignored", "cfs/src/main.py", cwd=root)
    plain = sandbox.cli("ignored", "--json", "cfs/src/build/x", cwd=root)

    assert [
        b"ignored  a.log  .pollinatorignore:1:*.log",
        b"kept     keep.log  .pollinatorignore:3:!keep.log",
        b"ignored  build/x/y  .pollinatorignore:2:build/ (for cfs/src/build)",
        b"ignored  .git/  built in: .git/",
        b"kept     main.py  no rule",
        b"ignored  ../../README  only cfs/src and cfs/data are sent",
        b"ignored  \xff.log  .pollinatorignore:1:*.log",
    ] == told.stdout.splitlines()
    assert [b"a.log", b"build/x/y", b".git/", b"../../README", b"\xff.log"] == names.stdout.splitlines()
    assert (0, 0, 1) == (told.returncode, names.returncode, kept.returncode)
    assert {
        "path": "cfs/src/build/x",
        "ignored": True,
        "source": "file",
        "file": ".pollinatorignore",
        "line": 2,
        "pattern": "build/",
        "above": "cfs/src/build",
    } == json.loads(plain.stdout)


def test_git_says_the_same(sandbox: Sandbox) -> None:
    root = sandbox.project()
    (root / ".pollinatorignore").write_text("*.log\nbuild/\n!keep.log\n")
    (root / ".gitignore").write_text("*.log\nbuild/\n!keep.log\n")
    subprocess.run(["git", "init", "-q", root], check=True)
    for path in ("cfs/src/a.log", "cfs/src/keep.log", "cfs/src/build/x", "cfs/src/main.py"):
        git = subprocess.run(["git", "-C", root, "check-ignore", "-q", "--no-index", path], check=False)

        assert git.returncode == sandbox.cli("ignored", path, cwd=root).returncode, path


def test_a_scrape_of_a_real_daemon_has_what_its_table_says(sandbox: Sandbox) -> None:
    root = sandbox.project()
    on = {"POLLINATOR_METRICS": "0"}
    assert 0 == sandbox.cli("run", "--follow", cwd=root, env=on).returncode
    log = [json.loads(line) for line in (sandbox.state / "log/daemon.log").read_text().splitlines()]
    (url,) = [
        word for entry in log for word in entry["message"].split() if word.startswith("http://127.0.0.1:")
    ]

    with urllib.request.urlopen(url, timeout=10) as answer:
        families = {each.name: each for each in text_string_to_metric_families(answer.read().decode())}

    assert {each.name.removesuffix("_total") for each in TABLE} <= set(families)
    assert {each.name.removesuffix("_total"): each.kind for each in TABLE}.items() <= {
        name: family.type for name, family in families.items()
    }.items()
    (ended,) = families["pollinator_runs_ended"].samples
    assert ({"state": "succeeded", "reason": ""}, 1) == (ended.labels, ended.value)
    shown = sandbox.cli("config", "show", "--json", cwd=root)
    setting = {each["name"]: each for each in map(json.loads, shown.stdout.splitlines())}["metrics"]
    assert ("127.0.0.1:0", "environment POLLINATOR_METRICS") == (setting["value"], setting["origin"])


def test_doctor_tells_that_the_port_for_metrics_is_taken(sandbox: Sandbox) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        on = {"POLLINATOR_METRICS": str(port)}
        found = sandbox.cli("doctor", "--json", cwd=sandbox.project(), env=on)

    checks = {each["name"]: each for each in map(json.loads, found.stdout.splitlines())}
    assert "warning" == checks["metrics"]["status"]
    assert f"127.0.0.1:{port}" in checks["metrics"]["detail"]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_without_the_setting_no_port_is_open(sandbox: Sandbox) -> None:
    root = sandbox.project()
    assert 0 == sandbox.cli("sync", cwd=root).returncode
    opened = Path(f"/proc/{sandbox.daemon_pid()}/fd")
    sockets: set[str] = set()
    for name in os.listdir(opened):
        with contextlib.suppress(FileNotFoundError):
            sockets.add(os.readlink(opened / name))
    listening = {f"socket:[{line.split()[9]}]" for line in Path("/proc/net/tcp").read_text().splitlines()[1:]}

    assert set() == sockets & listening


def test_the_log_names_run_and_project(sandbox: Sandbox) -> None:
    root = sandbox.project()
    run_id = sandbox.cli("run", cwd=root).stdout.decode().strip()
    assert 0 == sandbox.cli("wait", run_id, cwd=root).returncode
    wait_until(lambda: bool(ended(sandbox)), "the end is in the log")

    assert [(run_id, "demo")] == [(each["run"], each["project"]) for each in ended(sandbox)]


def ended(sandbox: Sandbox) -> list[dict[str, str]]:
    """Entries of the log that tell the end of a run."""
    lines = (sandbox.state / "log/daemon.log").read_text().splitlines()
    return [entry for entry in map(json.loads, lines) if " ended: " in entry["message"]]
