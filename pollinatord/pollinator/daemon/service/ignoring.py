"""Why a path is left out of snapshots: the rules of the engine, and that only two trees are sent."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from pollinator.daemon.ignore import BUILT_IN, Ignore
from pollinator.daemon.sync.state import TREES
from pollinator.v1.project_pb2 import IgnoreSource, IgnoreVerdict

_SENT = tuple(b"cfs/" + os.fsencode(name) for name in TREES)


def check_ignored(root: Path, paths: Iterable[bytes]) -> list[IgnoreVerdict]:
    """One verdict for each path, given from the project's folder on; a slash at the end says "directory".

    The rules are read now, so that an answer is about what is on disk and not about what a watcher noticed.
    """
    ignore = Ignore(root)
    return [_check(os.fsencode(root), ignore, path) for path in paths]


def _check(root: bytes, ignore: Ignore, asked: bytes) -> IgnoreVerdict:
    path = os.path.normpath(asked)
    if path not in _SENT and not path.startswith(tuple(tree + b"/" for tree in _SENT)):
        return IgnoreVerdict(path=asked, ignored=True, source=IgnoreSource.IGNORE_SOURCE_OUTSIDE)
    link = _link_above(root, path)
    if link:
        # What a link leads to is not in the tree, wherever it is.
        return IgnoreVerdict(path=asked, ignored=True, source=IgnoreSource.IGNORE_SOURCE_OUTSIDE, above=link)
    verdict = ignore.why(path, True if asked.endswith(b"/") else None)
    answer = IgnoreVerdict(path=asked, ignored=verdict.ignored)
    if (rule := verdict.rule) is not None:
        answer.line, answer.pattern = rule.line, rule.text
        answer.above = verdict.path if verdict.path != path else b""
        if rule.source == BUILT_IN:
            answer.source = IgnoreSource.IGNORE_SOURCE_BUILT_IN
        else:
            answer.source, answer.file = IgnoreSource.IGNORE_SOURCE_FILE, rule.source
    return answer


def _link_above(root: bytes, path: bytes) -> bytes:
    """The first directory above a path that is a link; empty when none is."""
    parts = path.split(b"/")
    above = (b"/".join(parts[:count]) for count in range(1, len(parts)))
    return next((each for each in above if os.path.islink(os.path.join(root, each))), b"")
