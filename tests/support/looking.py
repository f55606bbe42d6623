"""What is looked at on disk, for tests and measures in which nothing should be."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from pollinator.daemon.watch import filesystem
from pollinator.daemon.watch.kernel import Inotify

_CALLS = ("stat", "lstat", "open", "scandir", "listdir", "readlink", "access", "chdir", "mkdir", "unlink")


@contextmanager
def looked_at(root: Path) -> Generator[list[str]]:
    """Notes every look at a folder, at what is in it or at what is above it, on any thread meanwhile."""
    seen: list[str] = []
    below = os.fsencode(root) + b"/"

    def note(name: str, path: Any) -> None:
        if isinstance(path, int):
            seen.append(f"{name} {path}")
            return
        full = os.path.abspath(os.fsencode(path)).rstrip(b"/") + b"/"
        if full.startswith(below) or below.startswith(full):
            seen.append(f"{name} {path!r}")

    def noting(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any = ".", *more: Any, **options: Any) -> Any:
            # What a name in an open directory leads to is not asked: nothing should be open.
            note(name, 0 if options.get("dir_fd") is not None else path)
            return real(path, *more, **options)

        return call

    add = Inotify.add

    def add_noting(self: Inotify, path: bytes, mask: int) -> int:
        note("inotify_add_watch", path)
        return add(self, path, mask)

    with ExitStack() as patches:
        for name in _CALLS:
            patches.enter_context(patch.object(os, name, noting(name, getattr(os, name))))
        patches.enter_context(patch.object(io, "open", noting("io.open", io.open)))
        patches.enter_context(patch("builtins.open", noting("open", io.open)))
        statfs = noting("statfs", filesystem.network_fs)
        patches.enter_context(patch.object(filesystem, "network_fs", statfs))
        patches.enter_context(patch.object(Inotify, "add", add_noting))
        yield seen
