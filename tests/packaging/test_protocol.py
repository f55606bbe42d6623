"""The gates that guard the protocol fail when they should, on a copy of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.sandbox import BIN
from support.source import copy_sources

PROTO = "proto/pollinator/v1/run.proto"
AUTHOR = {f"GIT_{who}_{what}": "nobody" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    copy_sources(tmp_path, ["proto", "docs", "Makefile", "pyproject.toml"])
    return tmp_path


def change(copy: Path, old: str, new: str) -> None:
    text = (copy / PROTO).read_text()
    assert old in text
    (copy / PROTO).write_text(text.replace(old, new, 1))


def make(copy: Path, target: str) -> subprocess.CompletedProcess[str]:
    """Run a gate with the tools that are installed already."""
    venv = BIN.parent
    command = ["make", f"VENV={venv}", f"--assume-old={venv}/.installed", target]
    # The make that runs these tests must not reach into this one.
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))
    }
    return subprocess.run(
        command, cwd=copy, env=environment, capture_output=True, text=True, timeout=50, check=False
    )


def commit(copy: Path, *, tag: str = "") -> None:
    git = ["git", "-c", "init.defaultBranch=main"]
    commands = [["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "x"]]
    if tag:
        commands.append(["tag", tag])
    for command in commands:
        subprocess.run([*git, *command], cwd=copy, env=os.environ | AUTHOR, timeout=50, check=True)


def test_a_changed_message_makes_the_generated_code_stale(copy: Path) -> None:
    change(copy, "message GetRunRequest {", "message GetRunRequest {\n  // New.\n  bool new = 99;\n")

    checked = subprocess.run(
        [sys.executable, "proto/generate.py", "--check"],
        cwd=copy,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )

    assert 1 == checked.returncode
    assert "pollinator/v1/run_pb2.py\n" in checked.stderr
    assert "pollinator/v1/run_pb2.pyi\n" in checked.stderr


def test_a_changed_comment_makes_the_page_of_the_protocol_stale(copy: Path) -> None:
    command = [sys.executable, "proto/reference.py"]
    before = subprocess.run([*command, "--check"], cwd=copy, timeout=50, check=False)
    change(copy, "// GetRunRequest names a run.", "// GetRunRequest | names one run.")
    after = subprocess.run(
        [*command, "--check"], cwd=copy, capture_output=True, text=True, timeout=50, check=False
    )
    subprocess.run(command, cwd=copy, timeout=50, check=True)

    assert (0, 1) == (before.returncode, after.returncode)
    assert "run python proto/reference.py" in after.stderr
    assert "GetRunRequest | names one run." in (copy / "docs/protocol.md").read_text()


def test_a_field_without_a_comment_is_named(copy: Path) -> None:
    change(copy, "message GetRunRequest {", "message GetRunRequest {\n  bool new = 99;\n")

    checked = make(copy, "protocol")

    assert 2 == checked.returncode, checked.stdout
    assert 'Field "new" should have a non-empty comment' in checked.stdout


@needs_git
@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("string run_id = 1;", "string run_id = 77;", 'Previously present field "1"'),
        ("rpc CancelRun(", "rpc AbortRun(", 'Previously present RPC "CancelRun"'),
    ],
    ids=["renumbered field", "renamed call"],
)
def test_what_a_release_speaks_must_stay(copy: Path, old: str, new: str, words: str) -> None:
    commit(copy, tag="v0.1.0")
    change(copy, old, new)

    checked = make(copy, "breaking")

    assert 2 == checked.returncode, checked.stdout
    assert words in checked.stdout
    assert "against v0.1.0" in checked.stdout


@needs_git
def test_what_is_new_breaks_nothing(copy: Path) -> None:
    commit(copy, tag="v0.1.0")
    change(copy, "message GetRunRequest {", "message GetRunRequest {\n  // New.\n  bool new = 99;\n")

    checked = make(copy, "breaking")

    assert 0 == checked.returncode, checked.stdout
    assert "against v0.1.0" in checked.stdout


@needs_git
def test_without_a_release_the_comparison_says_that_it_is_skipped(copy: Path) -> None:
    commit(copy)

    checked = make(copy, "breaking")

    assert 0 == checked.returncode, checked.stdout
    assert "SKIPPED, no tag" in checked.stdout


def test_a_source_archive_without_git_says_the_same(copy: Path) -> None:
    checked = make(copy, "breaking")

    assert 0 == checked.returncode, checked.stdout
    assert "SKIPPED, no tag" in checked.stdout
