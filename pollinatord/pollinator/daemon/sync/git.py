"""Which commit a project in a git checkout was at, read from files: git need not be installed."""

from __future__ import annotations

import re
from pathlib import Path

_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")


def head_commit(root: Path) -> str:
    """The commit that HEAD of the enclosing checkout points at; empty when there is none to be found."""
    try:
        for folder in (root, *root.parents):
            marker = folder / ".git"
            if marker.exists():
                commit = _read_head(_git_dir(marker))
                return commit if _COMMIT.fullmatch(commit) else ""
    except (OSError, UnicodeDecodeError):
        pass
    return ""


def _git_dir(marker: Path) -> Path:
    if marker.is_dir():
        return marker
    # A worktree or submodule: a file that says where the folder is.
    return marker.parent / marker.read_text(encoding="utf-8").removeprefix("gitdir:").strip()


def _read_head(git_dir: Path) -> str:
    head = (git_dir / "HEAD").read_text(encoding="utf-8").strip()
    if not head.startswith("ref:"):
        return head
    name = head.removeprefix("ref:").strip()
    shared = git_dir / "commondir"
    common = git_dir / shared.read_text(encoding="utf-8").strip() if shared.exists() else git_dir
    for folder in (git_dir, common):
        if (folder / name).is_file():
            return (folder / name).read_text(encoding="utf-8").strip()
    packed = common / "packed-refs"
    if packed.is_file():
        for line in packed.read_text(encoding="utf-8").splitlines():
            commit, _, ref = line.partition(" ")
            if ref == name:
                return commit
    return ""
