"""Ignore rules: those of a project, and that they mean what git takes them for."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from pollinator.daemon.ignore import Ignore, is_ignore_file
from pollinator.daemon.watch.base import COOKIE_DIR
from support.people import ground, nobody

__all__ = ["ground"]


def why(ignore: Ignore, path: bytes, is_dir: bool | None = None) -> str:
    """The rule that decides, as git names it."""
    rule = ignore.why(path, is_dir).rule
    return str(rule) if rule is not None else ""


def rules(directory: Path, text: str) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / ".pollinatorignore").write_text(text)


@pytest.mark.parametrize(
    ("path", "is_dir"),
    [
        (b"cfs/src/.git", True),
        (b"cfs/src/.git/config", False),
        (b"cfs/src/pkg/__pycache__/m.pyc", False),
        (b"cfs/src/.venv/bin/python", False),
        (b"cfs/src/a/node_modules/x/y", False),
        (b"cfs/src/.main.py.swp", False),
        (b"cfs/data/.DS_Store", False),
        (b"cfs/src/main.py~", False),
        (b"cfs/src/.cfs", True),
    ],
)
def test_the_usual_litter_is_ignored_without_any_file(tmp_path: Path, path: bytes, is_dir: bool) -> None:
    assert Ignore(tmp_path).ignored(path, is_dir)


@pytest.mark.parametrize(
    "path", [b"cfs/src/main.py", b"cfs/src/.git", b"cfs/data/.env", b"cfs/src/git/config"]
)
def test_what_no_rule_names_is_kept(tmp_path: Path, path: bytes) -> None:
    assert not Ignore(tmp_path).ignored(path, False)


def test_a_default_can_be_taken_back(tmp_path: Path) -> None:
    rules(tmp_path, "!*.swp\n")

    assert not Ignore(tmp_path).ignored(b"cfs/src/a.swp", False)


def test_our_own_temporary_files_stay_ignored_whatever_the_rules_say(tmp_path: Path) -> None:
    rules(tmp_path, "!*\n")
    ignore = Ignore(tmp_path)

    assert ignore.ignored(b"cfs/src/.pollinator-123", False)
    assert ignore.ignored(COOKIE_DIR, True)
    assert ignore.ignored(COOKIE_DIR + b"/1", False)
    assert why(ignore, b"cfs/src/.pollinator-123") == "built in:0:.pollinator-*"
    assert not ignore.ignored(b"cfs/src/.pollinatorignore", False)


def test_the_trees_themselves_are_never_ignored(tmp_path: Path) -> None:
    rules(tmp_path, "*\n")
    ignore = Ignore(tmp_path)

    assert not ignore.ignored(b"cfs/data", True)
    assert not why(ignore, b"cfs/data")
    assert ignore.ignored(b"cfs/data/x", False)


def test_rules_reach_as_far_as_their_file(tmp_path: Path) -> None:
    rules(tmp_path, "*.log\n/cfs/src/top\n")
    rules(tmp_path / "cfs/src/a", "/only-here\n!keep.log\n")
    ignore = Ignore(tmp_path)

    assert ignore.ignored(b"cfs/src/x.log", False)
    assert ignore.ignored(b"cfs/src/top", False)
    assert ignore.ignored(b"cfs/src/a/only-here", False)
    assert not ignore.ignored(b"cfs/src/only-here", False)
    assert not ignore.ignored(b"cfs/src/a/keep.log", False)
    assert ignore.ignored(b"cfs/src/keep.log", False)


def test_paths_may_be_relative_to_a_directory_of_the_project(tmp_path: Path) -> None:
    rules(tmp_path, "/cfs/src/out\n*.o\n")
    rules(tmp_path / "cfs/src", "/tmp\n")
    ignore = Ignore(tmp_path, b"cfs/src")

    assert ignore.ignored(b"out", True)
    assert ignore.ignored(b"tmp", False)
    assert ignore.ignored(b"deep/x.o", False)
    assert not ignore.ignored(b"", True)
    assert not ignore.ignored(b"deep/tmp", False)


def test_nothing_below_an_ignored_directory_can_be_taken_back(tmp_path: Path) -> None:
    rules(tmp_path, "build/\n!build/keep\n")
    rules(tmp_path / "build", "!*\n")

    assert Ignore(tmp_path).ignored(b"build/keep", False)


def test_the_reason_is_named_as_file_line_and_pattern(tmp_path: Path) -> None:
    rules(tmp_path, "# temporary\n*.tmp\n")
    rules(tmp_path / "cfs/src", "out/\n!good.tmp\n")
    (tmp_path / "cfs/src/out").mkdir()
    ignore = Ignore(tmp_path)

    assert why(ignore, b"cfs/src/a.tmp") == ".pollinatorignore:2:*.tmp"
    assert why(ignore, b"cfs/src/out") == "cfs/src/.pollinatorignore:1:out/"
    assert why(ignore, b"cfs/src/out/deep/file") == "cfs/src/.pollinatorignore:1:out/"
    assert why(ignore, b"cfs/src/good.tmp") == "cfs/src/.pollinatorignore:2:!good.tmp"
    assert why(ignore, b"cfs/src/.git", is_dir=True) == "built in:1:.git/"
    assert not why(ignore, b"cfs/src/main.py")


def test_a_rule_for_a_directory_above_says_for_which(tmp_path: Path) -> None:
    rules(tmp_path, "out/\n*.tmp\n!b.tmp\n")
    ignore = Ignore(tmp_path)

    assert ignore.why(b"cfs/src/out/deep/file").path == b"cfs/src/out"
    assert ignore.why(b"cfs/src/.pollinator-1/deep/file").path == b"cfs/src/.pollinator-1"
    assert ignore.why(b"cfs/src/a.tmp").path == b"cfs/src/a.tmp"
    assert ignore.why(b"cfs/src/a.tmp").ignored
    assert not ignore.why(b"cfs/src/b.tmp").ignored
    assert not ignore.why(b"cfs/src/c").ignored


def test_rules_are_read_again_after_a_reload_only(tmp_path: Path) -> None:
    rules(tmp_path, "a\n")
    ignore = Ignore(tmp_path)
    assert ignore.ignored(b"a", False)
    assert not ignore.changed()
    rules(tmp_path, "bb\n")

    assert ignore.changed()
    assert ignore.ignored(b"a", False)
    ignore.reload()

    assert not ignore.ignored(b"a", False)
    assert ignore.ignored(b"bb", False)
    assert not ignore.changed()


def test_a_file_that_appears_or_vanishes_outside_the_trees_is_noticed(tmp_path: Path) -> None:
    ignore = Ignore(tmp_path, b"cfs")
    assert not ignore.ignored(b"src/a", False)
    rules(tmp_path, "a\n")

    assert ignore.changed()
    ignore.reload()

    assert ignore.ignored(b"src/a", False)
    (tmp_path / ".pollinatorignore").unlink()

    assert ignore.changed()


def test_a_file_that_cannot_be_read_is_a_problem_until_it_can_be(ground: Path) -> None:
    rules(ground, "a\n")
    file = ground / ".pollinatorignore"
    file.chmod(0)
    ignore = Ignore(ground)
    with nobody():
        assert not ignore.ignored(b"a", False)
        assert (".pollinatorignore cannot be read: Permission denied",) == ignore.problems
    file.chmod(0o644)

    assert ignore.changed()
    ignore.reload()
    with nobody():
        assert ignore.ignored(b"a", False)
        assert not ignore.problems


def test_a_new_file_is_looked_for_below_suspect_directories_only(tmp_path: Path) -> None:
    ignore = Ignore(tmp_path, b"cfs")
    assert not ignore.ignored(b"src/d/e/x", False)
    rules(tmp_path / "cfs/src/d/e", "x\n")

    assert not ignore.changed()
    assert not ignore.changed([b"src/other", b"data"])
    assert ignore.changed([b"src/d"])
    assert ignore.changed([b""])
    ignore.reload()

    assert ignore.ignored(b"src/d/e/x", False)
    assert not ignore.changed([b""])


def test_what_lies_in_an_ignored_directory_changes_no_rules(tmp_path: Path) -> None:
    rules(tmp_path, "out/\n")
    ignore = Ignore(tmp_path, b"cfs")
    assert ignore.ignored(b"src/out/x", False)
    rules(tmp_path / "cfs/src/out", "!x\n")

    assert not ignore.changed([b""])


def test_a_pipe_of_that_name_holds_no_rules_and_blocks_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / ".pollinatorignore")
    ignore = Ignore(tmp_path)

    assert not ignore.ignored(b"a", False)
    assert not ignore.problems


def test_a_path_of_two_thousand_names_is_decided_about(tmp_path: Path) -> None:
    rules(tmp_path, "x\n")
    ignore = Ignore(tmp_path)

    assert not ignore.ignored(b"d/" * 2000 + b"y", False)
    assert ignore.ignored(b"d/" * 2000 + b"x", False)


def test_a_directory_of_that_name_holds_no_rules(tmp_path: Path) -> None:
    (tmp_path / ".pollinatorignore").mkdir()
    ignore = Ignore(tmp_path)

    assert not ignore.ignored(b"a", False)
    assert not ignore.problems


def test_ignore_files_are_told_by_name() -> None:
    assert is_ignore_file(b".pollinatorignore")
    assert is_ignore_file(b"cfs/src/.pollinatorignore")
    assert not is_ignore_file(b"cfs/src/not.pollinatorignore")


NAMES = (b"a", b"b", b"ab", b"foo", b"foob", b"x.o", b".h", b"[a]", b"a b", b"-", b"]", b"a\\", b"c", b"\xff")
PIECES = (
    b"a", b"b", b"c", b"foo", b"o", b".", b"x", b"-", b" ", b"\\ ", b"*", b"**", b"?", b"/", b"/",
    b"**/", b"/**", b"/*", b"[ab]", b"[!a]", b"[^b]", b"[a-c]", b"[]a]", b"[a-]", b"[\\]]",
    b"[[:alpha:]]", b"[[:punct:]]", b"[[:nonsense:]]", b"[[:", b"[", b"[a-", b"\\a", b"\\*", b"\\[",
    b"\\", b"\xff",
)  # fmt: skip


class Case:
    """A random tree with random rules, for git and for us."""

    def __init__(self, root: Path, seed: int) -> None:
        self._random = random.Random(seed)
        self.root = root
        self.paths: list[tuple[bytes, bool]] = []
        subprocess.run(["git", "init", "-q", root], check=True)
        directories = [b""]
        for _ in range(3):
            for above in list(directories):
                below = above + self._random.choice(NAMES) + b"/"
                if below not in directories:
                    os.mkdir(os.fsencode(root) + b"/" + below)
                    directories.append(below)
                    self.paths.append((below[:-1], True))
        for directory in directories:
            self._fill(directory)

    def _fill(self, directory: bytes) -> None:
        base = os.fsencode(self.root) + b"/" + directory
        for name in self._random.sample(NAMES, 5):
            if not os.path.lexists(base + name):
                Path(os.fsdecode(base + name)).touch()
                self.paths.append((directory + name, False))
        if not directory or self._random.random() < 0.25:
            text = self._random.choice((b"\n", b"\r\n")).join(self._pattern() for _ in range(5))
            for file in (b".gitignore", b".pollinatorignore"):
                Path(os.fsdecode(base + file)).write_bytes(text)

    def _pattern(self) -> bytes:
        chance = self._random.random
        text = b"".join(self._random.choice(PIECES) for _ in range(self._random.randint(1, 5)))
        text = b"!" * (chance() < 0.3) + b"/" * (chance() < 0.1) + text + b"/" * (chance() < 0.2)
        return b"#" * (chance() < 0.03) + text

    def by_git(self) -> dict[bytes, bytes]:
        """The rule that decides about each path, empty for none, as git names it."""
        listing = b"".join(path + b"\0" for path, _ in self.paths)
        options = ["--no-index", "--verbose", "--non-matching", "-z", "--stdin"]
        command = ["git", "-C", str(self.root), "-c", "core.excludesFile=/dev/null", "check-ignore", *options]
        answer = subprocess.run(command, input=listing, capture_output=True, check=False).stdout
        fields = answer.split(b"\0")[:-1]
        named = zip(*(fields[part::4] for part in range(4)), strict=True)
        return {
            path: b"%b:%b:%b" % (source.replace(b".git", b".pollinator"), line, pattern) if source else b""
            for source, line, pattern, path in named
        }


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
@pytest.mark.parametrize("seed", range(40))
def test_the_same_rule_decides_as_in_git(tmp_path: Path, seed: int) -> None:
    case = Case(tmp_path, seed)
    ignore = Ignore(tmp_path)

    expected = {path: rule.decode(errors="backslashreplace") for path, rule in case.by_git().items()}

    assert expected == {path: why(ignore, path) for path, _ in case.paths}
    assert {
        path for path, rule in expected.items() if rule and not rule.split(":", 2)[2].startswith("!")
    } == {path for path, is_dir in case.paths if ignore.ignored(path, is_dir)}
