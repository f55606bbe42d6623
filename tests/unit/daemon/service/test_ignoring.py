"""Why a path is left out, as it is told to clients."""

from __future__ import annotations

from pathlib import Path

from pollinator.daemon.service.ignoring import check_ignored
from pollinator.v1.project_pb2 import IgnoreSource, IgnoreVerdict

FILE = IgnoreSource.IGNORE_SOURCE_FILE
BUILT_IN = IgnoreSource.IGNORE_SOURCE_BUILT_IN
OUTSIDE = IgnoreSource.IGNORE_SOURCE_OUTSIDE


def verdict(root: Path, path: bytes) -> IgnoreVerdict:
    (answer,) = check_ignored(root, [path])
    assert path == answer.path
    return answer


def rules(folder: Path, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".pollinatorignore").write_text(text)


def test_a_line_of_a_file_is_named(tmp_path: Path) -> None:
    rules(tmp_path / "cfs/src", "# logs\n*.log\n!keep.log\n")

    told = verdict(tmp_path, b"cfs/src/a.log")
    assert (True, FILE, "cfs/src/.pollinatorignore", 2, b"*.log", b"") == (
        told.ignored,
        told.source,
        told.file,
        told.line,
        told.pattern,
        told.above,
    )
    told = verdict(tmp_path, b"cfs/src/keep.log")
    assert (False, FILE, b"!keep.log") == (told.ignored, told.source, told.pattern)


def test_a_rule_for_a_directory_above_is_named_with_it(tmp_path: Path) -> None:
    rules(tmp_path, "build/\n")
    told = verdict(tmp_path, b"cfs/src/build/x/y.o")

    assert (True, FILE, 1, b"cfs/src/build") == (told.ignored, told.source, told.line, told.above)


def test_a_rule_that_is_built_in_is_said_to_be(tmp_path: Path) -> None:
    told = verdict(tmp_path, b"cfs/src/.git/")

    assert (True, BUILT_IN, b".git/", "") == (told.ignored, told.source, told.pattern, told.file)


def test_what_no_rule_names_is_kept(tmp_path: Path) -> None:
    assert IgnoreVerdict(path=b"cfs/data/x") == verdict(tmp_path, b"cfs/data/x")
    assert IgnoreVerdict(path=b"cfs/data") == verdict(tmp_path, b"cfs/data")


def test_a_slash_at_the_end_makes_a_directory_of_what_is_not_there(tmp_path: Path) -> None:
    rules(tmp_path, "out/\n")

    assert verdict(tmp_path, b"cfs/src/out/").ignored
    assert not verdict(tmp_path, b"cfs/src/out").ignored


def test_only_src_and_data_are_sent(tmp_path: Path) -> None:
    for path in (b"README.md", b"cfs/result/x", b"cfs", b"../elsewhere", b"cfs/src/../result/x", b"cfs/srcs"):
        told = verdict(tmp_path, path)

        assert (True, OUTSIDE) == (told.ignored, told.source), path


def test_what_lies_behind_a_link_is_not_sent(tmp_path: Path) -> None:
    (tmp_path / "cfs/src").mkdir(parents=True)
    (tmp_path / "cfs/src/link").symlink_to("/tmp")
    told = verdict(tmp_path, b"cfs/src/link/x")

    assert (True, OUTSIDE, b"cfs/src/link") == (told.ignored, told.source, told.above)
    assert not verdict(tmp_path, b"cfs/src/link").ignored


def test_names_need_be_no_text(tmp_path: Path) -> None:
    rules(tmp_path, "*.o\n")

    assert verdict(tmp_path, b"cfs/src/\xff.o").ignored
