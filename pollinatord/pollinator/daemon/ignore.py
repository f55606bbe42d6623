"""Which paths of a project are left out, and which line of which file says so.

``.pollinatorignore`` works as ``.gitignore`` does: at any level, patterns relative to the file's directory,
deeper files and later lines win, and nothing below an ignored directory can be taken back. The one in the
project's folder sees paths such as ``cfs/src/x``. Built-in defaults come last, so a file may negate them.
One engine decides for watching and sealing; patterns are ``gitignore``'s business.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pollinator.daemon.gitignore import Rule, RuleSet, Suspects, parse
from pollinator.daemon.watch.base import IGNORE_FILE

OWN_PREFIX = b".pollinator-"
"""Names of our own temporary files start like this. They are left out whatever the rules say."""

BUILT_IN = "built in"
"""Where the rules that are in no file come from, as those are named by their file."""

DEFAULTS = b"""\
.git/
.hg/
.svn/
__pycache__/
.venv/
node_modules/
.cfs
.DS_Store
*.swp
*.swo
*.swx
*~
.#*
.nfs*
.fuse_hidden*
"""

_NOBODY = Suspects((), ())

_TREES = frozenset((b"cfs", b"cfs/src", b"cfs/data", b"cfs/result"))
"""A rule may empty a tree but not take it away."""

_Stamp = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a path is left out, and why."""

    rule: Rule | None = None
    """What decides; one that is negated takes the path back."""
    path: bytes = b""
    """What the rule is for, from the project's folder on: the path, or a directory above it."""

    @property
    def ignored(self) -> bool:
        """The path is left out."""
        return self.rule is not None and not self.rule.negated


_KEPT = Verdict()


@dataclass(frozen=True, slots=True)
class _Level:
    """The rules for what lies directly in one directory."""

    ignored_by: Verdict | None
    """Why the directory itself is ignored, and so all below it."""
    chain: tuple[tuple[bytes, RuleSet], ...]
    """Deepest file first, each with the path from its directory to this one (with a slash at the end)."""
    suspects: Suspects
    """Of any other name no rule decides."""

    def decide(self, name: bytes, is_dir: bool) -> Rule | None:
        if name not in self.suspects:
            return None
        for prefix, rules in self.chain:
            rule = rules.decide(prefix, name, is_dir)
            if rule is not None:
                return rule
        return None


class _Loaded:
    """What has been read since the last reload. Threads may share it: filling a slot twice is harmless."""

    __slots__ = ("_suspects", "elsewhere", "levels", "problems", "stamps")

    def __init__(self) -> None:
        self.levels: dict[bytes, _Level] = {}
        self.stamps: dict[bytes, _Stamp | None] = {}
        self.elsewhere: set[bytes] = set()
        self.problems: dict[bytes, str] = {}
        self._suspects: dict[tuple[tuple[RuleSet, tuple[Rule, ...]], ...], Suspects] = {}

    def level(self, chain: tuple[tuple[bytes, RuleSet], ...]) -> _Level:
        """The rules for a directory; most have the same suspects as others."""
        reaching = tuple((rules, rules.reaching(prefix)) for prefix, rules in chain)
        suspects = self._suspects.get(reaching)
        if suspects is None:
            patterns = frozenset[bytes]().union(*(rules.names for _, rules in chain))
            suspects = Suspects(patterns, (rule for _, some in reaching for rule in some))
            self._suspects[reaching] = suspects
        return _Level(None, chain, suspects)


class Ignore:
    """Answers for paths below ``under``, which is relative to the project's folder ``root``."""

    def __init__(self, root: Path, under: bytes = b"") -> None:
        self._root = os.fsencode(root)
        self._under = under + b"/" if under else b""
        self._defaults = parse(BUILT_IN, DEFAULTS)
        self._loaded = _Loaded()
        self._outer = {b"", *_TREES, *_parents(under), under}

    @property
    def problems(self) -> tuple[str, ...]:
        """Ignore files met so far that cannot be read."""
        return tuple(self._loaded.problems.values())

    def ignored(self, path: bytes, is_dir: bool) -> bool:
        """Whether ``path`` is left out, by a rule for it or for a directory above it."""
        full = self._under + path
        if full in _TREES or not path:
            return False
        directory, _, name = full.rpartition(b"/")
        if name.startswith(OWN_PREFIX):
            return True
        level = self._level(directory)
        if level.ignored_by is not None:
            return True
        rule = level.decide(name, is_dir)
        return rule is not None and not rule.negated

    def skips(self, path: bytes) -> bool:
        """Whether a directory is left out; what a watcher asks."""
        return self.ignored(path, True)

    def why(self, path: bytes, is_dir: bool | None = None) -> Verdict:
        """Whether ``path`` is left out, and by which rule.

        Whether it is a directory is looked up when not given.
        """
        full = self._under + path
        if full in _TREES or not path:
            return _KEPT
        directory, _, name = full.rpartition(b"/")
        if is_dir is None:
            location = os.path.join(self._root, full)
            is_dir = os.path.isdir(location) and not os.path.islink(location)
        level = self._level(directory)
        if level.ignored_by is not None:
            return level.ignored_by
        return Verdict(_OWN if name.startswith(OWN_PREFIX) else level.decide(name, is_dir), full)

    def reload(self) -> None:
        """Forget all rules; they are read again when asked for."""
        self._loaded = _Loaded()

    def changed(
        self, below: Iterable[bytes] = (), *, announced: Callable[[bytes], bool] | None = None
    ) -> bool:
        """Whether a file in use is not what was read.

        A new one deep in a tree is a change that the watcher announces. It is looked for only in and below
        the directories ``below``, of which is known no more than that anything in them may have changed.

        Args:
            below: relative to ``under``, as what ``announced`` is asked.
            announced: the watcher tells of every file that changes, and says whether all in a directory may
                have; None where it does not, so that every file in use has to be looked at.
        """
        loaded = self._loaded
        for directory, stamp in list(loaded.stamps.items()):
            if self._may_differ(loaded, directory, announced) and self._stat(directory) != stamp:
                return True
        return any(
            directory not in loaded.stamps and self._stat(directory) is not None
            for subtree in below
            for directory in self._in_use(loaded, self._under + subtree)
        )

    def _may_differ(
        self, loaded: _Loaded, directory: bytes, announced: Callable[[bytes], bool] | None
    ) -> bool:
        if announced is None or directory in loaded.elsewhere:
            return True
        inside = directory + b"/"
        return inside.startswith(self._under) and announced(inside[len(self._under) :].rstrip(b"/"))

    def _in_use(self, loaded: _Loaded, top: bytes) -> Iterator[bytes]:
        """Directories at or below ``top`` that were asked about and are not ignored themselves."""
        top = top.rstrip(b"/")
        # Rules are read from the top down: when there are none for a directory, there are none below it.
        if top not in loaded.levels:
            return
        prefix = top + b"/" if top else b""
        for directory, level in list(loaded.levels.items()):
            if level.ignored_by is None and (directory == top or directory.startswith(prefix)):
                yield directory

    def _level(self, directory: bytes) -> _Level:
        loaded = self._loaded
        level = loaded.levels.get(directory)
        missing: list[bytes] = []
        while level is None:
            missing.append(directory)
            if not directory:
                break
            directory = directory.rpartition(b"/")[0]
            level = loaded.levels.get(directory)
        for each in reversed(missing):
            level = loaded.levels[each] = self._make_level(each, level, loaded)
        if level is None:
            raise AssertionError("the topmost level is made first")
        return level

    def _make_level(self, directory: bytes, parent: _Level | None, loaded: _Loaded) -> _Level:
        if parent is None:
            return loaded.level(self._with_own(directory, ((b"", self._defaults),), loaded))
        if parent.ignored_by is not None:
            return parent
        name = directory.rpartition(b"/")[2]
        rule = None
        if directory not in _TREES and directory + b"/" != self._under:
            rule = _OWN if name.startswith(OWN_PREFIX) else parent.decide(name, True)
        if rule is not None and not rule.negated:
            return _Level(Verdict(rule, directory), (), _NOBODY)
        chain = tuple((prefix + name + b"/", rules) for prefix, rules in parent.chain)
        return loaded.level(self._with_own(directory, chain, loaded))

    def _with_own(
        self, directory: bytes, chain: tuple[tuple[bytes, RuleSet], ...], loaded: _Loaded
    ) -> tuple[tuple[bytes, RuleSet], ...]:
        # The stamp comes before the text: a change in between makes the stamp old, never the text.
        stamp = self._stat(directory)
        if stamp is not None or directory in self._outer:
            loaded.stamps[directory] = stamp
            if self._may_be_written_elsewhere(directory):
                loaded.elsewhere.add(directory)
        if stamp is None:
            return chain
        name = os.path.join(directory, IGNORE_FILE)
        shown = name.decode(errors="backslashreplace")
        try:
            # Should it be a pipe by now, it must not block.
            descriptor = os.open(os.path.join(self._root, name), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(descriptor, "rb") as file:
                text = file.read()
        except (FileNotFoundError, IsADirectoryError):
            return chain
        except OSError as error:
            loaded.problems[directory] = f"{shown} cannot be read: {error.strerror}"
            return chain
        return ((b"", parse(shown, text)), *chain)

    def _may_be_written_elsewhere(self, directory: bytes) -> bool:
        """A link, or a file with another name: nobody who watches the directory is told what is written."""
        try:
            info = os.lstat(os.path.join(self._root, directory, IGNORE_FILE))
        except OSError:
            return False
        return stat.S_ISLNK(info.st_mode) or info.st_nlink > 1

    def _stat(self, directory: bytes) -> _Stamp | None:
        try:
            info = os.stat(os.path.join(self._root, directory, IGNORE_FILE))
        except OSError:
            return None
        if not stat.S_ISREG(info.st_mode):
            return None
        return info.st_mtime_ns, info.st_ctime_ns, info.st_size, info.st_ino


def is_ignore_file(path: bytes) -> bool:
    """Whether a change of ``path`` changes the rules."""
    return path == IGNORE_FILE or path.endswith(b"/" + IGNORE_FILE)


def _parents(path: bytes) -> set[bytes]:
    parts = path.split(b"/")
    return {b"/".join(parts[:count]) for count in range(len(parts))}


_OWN = Rule(BUILT_IN, 0, OWN_PREFIX + b"*", OWN_PREFIX + b"*", False, False, False)
