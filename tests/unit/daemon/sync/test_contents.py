"""What a snapshot holds is what is on disk, whatever that is and however it came there."""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path

import pytest

from pollinator.chunks.layout import lay_out
from pollinator.chunks.read import SnapshotReader
from pollinator.executors.conformance.trees import random_bytes
from support.projects import Project, project, put
from support.syncing import nested

__all__ = ["project"]

linux = pytest.mark.skipif(sys.platform != "linux", reason="this is Linux's")


def test_an_empty_project_has_two_empty_trees(project: Project) -> None:
    assert {"src": {}, "data": {}} == project.sealed()


def test_trees_that_are_missing_altogether_are_empty(project: Project) -> None:
    project.data.rmdir()
    project.write("src/f", "x")
    sealed = project.seal()

    assert (1, 0) == (sealed.snapshot.src.files, sealed.snapshot.data.files)
    project.data.mkdir()
    project.write("data/f", "x")

    assert project.disk == project.sealed()


def test_a_tree_that_was_deleted_and_made_again_is_what_it_is_now(project: Project) -> None:
    project.write("src/f", "x")
    assert project.disk == project.sealed()
    shutil.rmtree(project.src)
    project.write("src/g", "y")

    assert project.disk == project.sealed()


def test_nothing_but_src_and_data_is_sent(project: Project) -> None:
    project.write("result/r", "x")
    project.write("other/o", "x")
    project.write("loose", "x")

    assert {"src": {}, "data": {}} == project.sealed()


def test_empty_files_empty_folders_and_modes_are_kept(project: Project) -> None:
    project.write("src/empty")
    project.write("src/run", "#!/bin/sh", mode=0o755)
    project.write("src/private", "x" * 200, mode=0o600)
    (project.src / "folder/in/folder").mkdir(parents=True)
    (project.src / "folder").chmod(0o750)
    first = project.sealed()

    assert project.disk == first
    (project.src / "run").chmod(0o644)
    (project.src / "folder").chmod(0o700)

    assert project.disk == project.sealed() != first


def test_bits_beyond_permissions_are_left_out(project: Project) -> None:
    project.write("src/f", "x").chmod(0o4755)

    assert ("file", 0o755, b"x") == project.sealed()["src"][b"f"]


def test_names_of_all_kinds_are_kept_byte_by_byte(project: Project) -> None:
    names = [
        b"\xff\xfe", b"new\nline", b"back\\slash", b"-rf", b"trailing ", b" ", b"tab\t", b"n" * 255, b"...",
        "é".encode(), "e\N{COMBINING ACUTE ACCENT}".encode(), "\N{SNOWMAN}".encode(), b"\x01\x1b[31m",
        b"*?[", b"CON", b"a:b",
    ]  # fmt: skip
    for name in names:
        put(project.src, name, name)
    put(project.src, b"A", b"upper")
    put(project.src, b"a", b"lower")
    sealed = project.sealed()

    assert project.disk == sealed
    assert len(names) + 2 == len(sealed["src"])


def test_names_are_watched_byte_by_byte(project: Project) -> None:
    put(project.src, b"\xff\n", b"one")
    os.mkdir(os.fsencode(project.src) + b"/\xfe")
    project.sealed()
    put(project.src, b"\xff\n", b"two")
    put(project.src, b"\xfe/\xfd ", b"three")

    assert project.disk == project.sealed()


def test_hard_links_are_separate_files(project: Project) -> None:
    one = project.write("src/one", random_bytes(1000))
    os.link(one, project.src / "two")

    assert project.disk == project.sealed()
    one.write_bytes(b"new")
    sealed = project.sealed()

    # Written through its other name: that makes no event for this one.
    assert b"new" == sealed["src"][b"one"][2]


def test_links_are_kept_as_links(project: Project) -> None:
    project.write("src/d/f", "x")
    for name, target in (("to-file", "d/f"), ("to-folder", "d"), ("nowhere", "no/thing"), ("up", "d/../d/f")):
        (project.src / name).symlink_to(target)

    assert project.disk == project.sealed()
    (project.src / "to-file").unlink()
    (project.src / "to-file").symlink_to("d")

    assert project.disk == project.sealed()


def test_what_is_no_file_folder_or_link_is_left_out_with_one_notice(project: Project) -> None:
    os.mkfifo(project.src / "pipe")
    os.mkfifo(project.data / "pipe")
    project.write("src/f", "x")
    project.settle()
    sealed = project.seal(strict=True)

    assert ["special_file"] == [notice.code for notice in sealed.notices]
    assert "cfs/data/pipe and 1 more" in sealed.notices[0].text
    assert ["special_file"] == [notice.code for notice in project.seal().notices]
    (project.src / "pipe").unlink()
    (project.data / "pipe").unlink()
    project.write("data/pipe", "now a file")

    assert () == project.seal().notices
    assert project.disk == project.sealed()


@pytest.mark.parametrize("size", [0, 1, 128, 129, 4096, 2 * 2**20, 2 * 2**20 + 1, 9 * 2**20])
def test_files_of_any_size_are_read_whole(project: Project, size: int) -> None:
    project.write("data/f", random_bytes(size))

    assert project.disk == project.sealed()


def test_a_change_in_the_middle_of_a_big_file_sends_little(project: Project) -> None:
    data = bytearray(random_bytes(20 * 2**20))
    file = project.write("data/f", bytes(data))
    project.seal()
    data[10_000_000] ^= 1
    file.write_bytes(data)
    sealed = project.seal()

    assert sealed.report.bytes_uploaded < 3 * 2**20
    assert project.disk == project.sealed()


@linux
def test_holes_are_never_read(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of many gigabytes, of which two blocks are there."""
    with (project.data / "sparse").open("wb") as file:
        file.write(b"start")
        file.seek(40 * 2**30)
        file.write(b"end")
    if (project.data / "sparse").stat().st_blocks > 2**20:
        pytest.skip("this file system keeps no holes")
    read = 0
    pread = os.pread

    def counting(descriptor: int, length: int, offset: int) -> bytes:
        nonlocal read
        data = pread(descriptor, length, offset)
        read += len(data)
        return data

    monkeypatch.setattr(os, "pread", counting)
    sealed = project.seal()

    assert 40 * 2**30 + 3 == sealed.snapshot.data.bytes
    assert read < 2**20
    assert sealed.report.bytes_uploaded < 2**20


@linux
def test_a_sparse_file_comes_back_sparse(project: Project, tmp_path: Path) -> None:
    with (project.data / "sparse").open("wb") as file:
        file.seek(1 * 2**30)
        file.write(b"end")
    reader = SnapshotReader(project.store)
    snapshot = reader.open(project.seal().ref)
    target = tmp_path / "target"
    target.mkdir()
    lay_out(reader, snapshot.data, target)
    info = (target / "sparse").stat()

    assert 1 * 2**30 + 3 == info.st_size
    assert info.st_blocks * 512 <= max(2**20, (project.data / "sparse").stat().st_blocks * 512)


def test_five_thousand_files_in_one_folder(project: Project) -> None:
    for number in range(5000):
        (project.data / f"f{number}").write_bytes(b"%d" % number)
    assert project.disk == project.sealed()
    (project.data / "f777").write_bytes(b"changed")
    (project.data / "f778").unlink()
    sealed = project.seal()

    # The folder is stored in pieces, of which one or two have changed.
    assert sealed.report.bytes_uploaded < 60_000
    assert project.disk == project.sealed()


def test_folders_nested_deeper_than_calls(project: Project) -> None:
    with nested(project.src, 1500):
        sealed = project.seal()

        assert 1500 == len(project.sealed()["src"])
        assert 0 == sealed.snapshot.src.files
        project.restart()

        assert sealed.ref == project.seal().ref


class TestMoves:
    """Folders that are moved, with all they hold."""

    def test_a_renamed_folder(self, project: Project) -> None:
        project.write("src/a/b/f", "x")
        project.write("src/a/g", "y")
        project.seal()
        (project.src / "a").rename(project.src / "c")

        assert project.disk == project.sealed()
        project.write("src/c/b/f", "new")

        assert project.disk == project.sealed()

    def test_from_one_tree_to_the_other(self, project: Project) -> None:
        project.write("src/a/f", "x")
        project.seal()
        (project.src / "a").rename(project.data / "a")

        assert project.disk == project.sealed()

    def test_in_from_outside(self, project: Project, tmp_path: Path) -> None:
        (tmp_path / "new/deep").mkdir(parents=True)
        (tmp_path / "new/deep/f").write_text("x")
        project.seal()
        (tmp_path / "new").rename(project.src / "new")

        assert project.disk == project.sealed()
        project.write("src/new/deep/g", "y")

        assert project.disk == project.sealed()

    def test_out_and_changed_there(self, project: Project, tmp_path: Path) -> None:
        project.write("src/a/f", "x")
        project.seal()
        (project.src / "a").rename(tmp_path / "out")
        (tmp_path / "out/f").write_text("unseen")

        assert {"src": {}, "data": {}} == project.sealed()

    def test_two_folders_swapped(self, project: Project) -> None:
        project.write("src/a/f", "x")
        project.write("src/b/f", "y")
        project.seal()
        (project.src / "a").rename(project.src / "aside")
        (project.src / "b").rename(project.src / "a")
        (project.src / "aside").rename(project.src / "b")

        assert project.disk == project.sealed()

    def test_a_folder_replaced_by_a_file_a_link_and_a_folder_again(self, project: Project) -> None:
        project.write("src/a/f", "x")
        project.write("src/b/f", "y")
        path = project.src / "a"
        project.seal()
        shutil.rmtree(path)
        path.write_text("a file")
        assert project.disk == project.sealed()
        path.unlink()
        path.symlink_to("b")
        assert project.disk == project.sealed()
        path.unlink()
        project.write("src/a/new", "z")

        assert project.disk == project.sealed()

    def test_before_its_files_were_read(self, project: Project) -> None:
        project.seal()
        project.write("src/a/f", "x")
        project.engine.step()
        (project.src / "a").rename(project.src / "b")
        (project.src / "b/f").rename(project.src / "b/g")

        assert project.disk == project.sealed()


def test_the_same_contents_have_the_same_name_whatever_happened_before(
    project: Project, tmp_path: Path
) -> None:
    project.write("src/d/f", random_bytes(3_000_000))
    project.write("src/g", "x", mode=0o755)
    first = project.seal().ref
    project.write("src/g", "y")
    assert first != project.seal().ref
    project.write("src/g", "x")
    os.utime(project.src / "g", (0, 0))
    again = project.seal()

    assert first == again.ref
    assert 0 == again.report.requests
    other = Project(tmp_path / "elsewhere")
    shutil.copytree(project.cfs, other.cfs, dirs_exist_ok=True, symlinks=True)

    assert first.digest == other.seal().ref.digest
    other.close()


def test_a_mode_of_zero_is_that_of_a_file_root_reads(project: Project) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may read such a file")
    project.write("src/f", "x", mode=0)

    assert ("file", 0, b"x") == project.sealed()["src"][b"f"]


def test_a_file_with_a_time_long_ago_or_to_come_is_read_like_others(project: Project) -> None:
    for name, when in (("old", 1), ("new", time.time() + 10**8)):
        file = project.write(f"src/{name}", "first")
        os.utime(file, (when, when))
        assert project.disk == project.sealed()
        file.write_text("other")
        os.utime(file, (when, when))

        assert project.disk == project.sealed()
