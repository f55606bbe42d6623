"""Which commit a project is at, found without git; compared with what git says where it is installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from pollinator.daemon.sync.git import head_commit

with_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def git(folder: Path, *arguments: str) -> str:
    """Run git as nobody in particular."""
    who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(folder), *who, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with one commit."""
    git(tmp_path, "init", "-q", "-b", "main", "repository")
    root = tmp_path / "repository"
    (root / "f").write_text("one")
    git(root, "add", "f")
    git(root, "commit", "-q", "-m", "one")
    return root


def test_outside_of_a_checkout_there_is_none(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()

    assert not head_commit(tmp_path)


@with_git
def test_a_branch_a_commit_and_a_packed_branch_are_found(checkout: Path) -> None:
    first = git(checkout, "rev-parse", "HEAD")

    assert first == head_commit(checkout)
    git(checkout, "pack-refs", "--all")

    assert first == head_commit(checkout)
    git(checkout, "commit", "-q", "--allow-empty", "-m", "two")
    git(checkout, "checkout", "-q", "--detach")

    assert git(checkout, "rev-parse", "HEAD") == head_commit(checkout) != first


@with_git
def test_a_project_below_a_checkout_has_its_commit(checkout: Path) -> None:
    (checkout / "a/b").mkdir(parents=True)

    assert git(checkout, "rev-parse", "HEAD") == head_commit(checkout / "a/b")


@with_git
def test_a_worktree_has_its_own(checkout: Path, tmp_path: Path) -> None:
    git(checkout, "worktree", "add", "-q", "-b", "other", str(tmp_path / "tree"))
    git(tmp_path / "tree", "commit", "-q", "--allow-empty", "-m", "two")

    assert git(tmp_path / "tree", "rev-parse", "HEAD") == head_commit(tmp_path / "tree")
    assert git(checkout, "rev-parse", "HEAD") == head_commit(checkout)


def test_a_branch_without_a_commit_has_none(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git/HEAD").write_text("ref: refs/heads/main\n")

    assert not head_commit(tmp_path)


def test_no_other_file_is_taken_for_a_commit(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("the password\n")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git/HEAD").write_text("ref: ../secret\n")

    assert not head_commit(tmp_path)
