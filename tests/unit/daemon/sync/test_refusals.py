"""When the sync engine does not seal: what cannot be read, leads away, or is being written."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pollinator.chunks.cut import cut
from pollinator.daemon.sync import dirty, reading
from pollinator.daemon.sync.reading import read_file
from pollinator.executors.conformance.trees import random_bytes
from pollinator.wire.errors import Denied, InvalidInput, Unavailable, WrongState
from support.people import ground, nobody
from support.projects import IN_SYNC, SYNCING, Project, project, put
from support.syncing import nested

__all__ = ["ground", "project"]


@pytest.fixture
def theirs(ground: Path) -> Iterator[Project]:
    """A project of somebody who is not root."""
    with nobody():
        made = Project(ground)
        yield made
        made.close()


def refused(project: Project) -> dict[str, str]:
    """What a seal says about what it cannot read."""
    with pytest.raises(InvalidInput) as caught:
        project.seal()

    assert "unreadable_file" == caught.value.reason
    return {each.where: each.message for each in caught.value.violations}


class TestUnreadable:
    """Files and folders that belong into the snapshot and cannot be read."""

    def test_a_file_is_named_until_it_can_be_read(self, theirs: Project) -> None:
        file = theirs.write("src/f", "x", mode=0)
        theirs.write("src/g", "y")

        assert {"cfs/src/f": "cannot be read: Permission denied"} == refused(theirs)
        file.chmod(0o644)

        assert theirs.disk == theirs.sealed()

    def test_a_file_that_becomes_unreadable(self, theirs: Project) -> None:
        file = theirs.write("src/f", "x")
        theirs.seal()
        file.chmod(0)

        assert ["cfs/src/f"] == [*refused(theirs)]
        file.unlink()

        assert theirs.disk == theirs.sealed()

    def test_a_folder_that_cannot_be_listed(self, theirs: Project) -> None:
        theirs.write("src/d/f", "x")
        theirs.write("src/d/e/g", "x")
        theirs.seal()
        theirs.restart()
        (theirs.src / "d").chmod(0)

        assert {"cfs/src/d": "cannot be read: Permission denied"} == refused(theirs)
        (theirs.src / "d").chmod(0o755)

        assert theirs.disk == theirs.sealed()

    def test_a_folder_whose_entries_cannot_be_looked_at(self, theirs: Project) -> None:
        theirs.write("src/d/f", "x")
        (theirs.src / "d").chmod(0o444)

        assert ["cfs/src/d/f"] == [*refused(theirs)]
        (theirs.src / "d").chmod(0o755)

        assert theirs.disk == theirs.sealed()

    def test_a_tree_that_cannot_be_listed_is_not_empty(self, theirs: Project) -> None:
        theirs.write("src/f", "x")
        theirs.src.chmod(0)

        assert ["cfs/src"] == [*refused(theirs)]
        theirs.src.chmod(0o755)

        assert theirs.disk == theirs.sealed()

    def test_all_of_cfs_cannot_be_listed(self, theirs: Project) -> None:
        theirs.write("src/f", "x")
        theirs.cfs.chmod(0o311)

        with pytest.raises(Denied) as caught:
            theirs.seal()

        assert f"{theirs.cfs} cannot be read: Permission denied" == caught.value.message
        theirs.cfs.chmod(0o755)

        assert theirs.disk == theirs.sealed()

    def test_what_is_ignored_need_not_be_readable(self, theirs: Project) -> None:
        theirs.write("src/secret", "x", mode=0)
        theirs.write("src/d/f", "x")
        (theirs.src / "d").chmod(0)
        theirs.write("src/g", "y")
        refused(theirs)
        theirs.write("src/.pollinatorignore", "secret\nd/\n")

        assert {b".pollinatorignore", b"g"} == theirs.sealed()["src"].keys()

    def test_rules_that_cannot_be_read_might_have_left_something_out(self, theirs: Project) -> None:
        theirs.write("src/.pollinatorignore", "f\n", mode=0)

        assert {".pollinatorignore", "cfs/src/.pollinatorignore"} == refused(theirs).keys()

    def test_the_status_says_so(self, theirs: Project) -> None:
        put(theirs.src, b"a\xff")
        theirs.write("src/b")
        for path in theirs.src.iterdir():
            path.chmod(0)
        status = theirs.settle()

        assert SYNCING == status.state
        assert 2 == status.backlog.files
        assert "cfs/src/a\\xff and 1 more cannot be read: Permission denied" == status.problem
        for path in theirs.src.iterdir():
            path.chmod(0o644)

        assert (IN_SYNC, "") == (theirs.settle().state, theirs.engine.status().problem)

    def test_a_tree_of_unreadable_files_is_not_an_empty_one(self, theirs: Project) -> None:
        files = [theirs.write(f"data/f{number}", "x") for number in range(30)]
        theirs.seal()
        theirs.restart()
        for file in files:
            file.chmod(0)

        assert SYNCING == theirs.settle().state
        assert len(refused(theirs)) == 10, "no more are named"

    def test_a_failing_disk_is_tried_again_by_the_next_seal(
        self, project: Project, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        project.write("src/f", "x" * 1000)

        def fail(*_arguments: object) -> object:
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(reading, "cut", fail)
        assert {"cfs/src/f": "cannot be read: Input/output error"} == refused(project)
        monkeypatch.setattr(reading, "cut", cut)

        assert project.disk == project.sealed()

    def test_a_path_that_is_too_long_is_named(self, project: Project) -> None:
        with nested(project.src, 20, "n" * 250):
            where = refused(project)

            assert {"cannot be read: File name too long"} == set(where.values())
        assert project.disk == project.sealed()


class TestLinks:
    """Links that lead out of their tree."""

    @pytest.mark.parametrize(
        ("name", "target"), [("l", "/etc/passwd"), ("l", "../data"), ("d/l", "../../x"), ("l", "d/../../x")]
    )
    def test_one_that_leads_away_is_named_and_refused(self, project: Project, name: str, target: str) -> None:
        (project.src / "d").mkdir()
        (project.src / "fine").symlink_to("d")
        project.seal()
        (project.src / name).symlink_to(target)
        with pytest.raises(InvalidInput) as caught:
            project.seal()

        assert "external_link" == caught.value.reason
        assert f"cfs/src/{name} -> {target}" in caught.value.message
        project.seal(external_links=True)
        (project.src / name).unlink()
        project.seal()

    def test_links_that_lead_away_only_together(self, project: Project) -> None:
        (project.src / "a/b").mkdir(parents=True)
        (project.src / "a/b/up").symlink_to("../..")
        (project.src / "out").symlink_to("a/b/up/../x")
        with pytest.raises(InvalidInput) as caught:
            project.seal()

        assert "external_link" == caught.value.reason

    def test_allowing_them_once_is_not_allowing_them_for_ever(self, project: Project) -> None:
        (project.src / "l").symlink_to("/etc")
        project.seal(external_links=True)
        with pytest.raises(InvalidInput):
            project.seal()


@contextmanager
def written_to(file: Path) -> Generator[None]:
    """A file that some program has written to and not closed."""
    with file.open("ab") as opened:
        opened.write(b"more")
        opened.flush()
        yield


class TestWriters:
    """Files that are not at rest."""

    def test_a_file_open_for_writing_is_named(self, project: Project) -> None:
        project.write("src/f", "x")
        project.seal()
        with written_to(project.src / "f"):
            sealed = project.seal()

            assert ["open_for_writing"] == [notice.code for notice in sealed.notices]
            assert "cfs/src/f" in sealed.notices[0].text
            assert project.disk == project.sealed()

    def test_strict_refuses_it_and_nothing_else_is_wrong(self, project: Project) -> None:
        project.write("src/f", "x")
        project.seal()
        with written_to(project.src / "f"), pytest.raises(WrongState) as caught:
            project.seal(strict=True)

        assert "open_for_writing" == caught.value.reason
        assert () == project.seal(strict=True).notices
        assert not project.engine.status().problem

    def test_the_background_leaves_it_alone_until_it_is_closed(self, project: Project) -> None:
        project.write("src/f", "x")
        project.settle()
        with written_to(project.src / "f"):
            while not project.engine.status().backlog.files:
                project.engine.step()

            assert not project.engine.step(), "there is nothing to do"
        assert IN_SYNC == project.settle().state

    def test_a_file_that_changes_while_it_is_read_is_named_and_refused_when_strict(
        self, project: Project, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = project.write("src/f", random_bytes(1000))

        def changing(descriptor: int, size: int, sink: object) -> object:
            content = cut(descriptor, size, sink)  # type: ignore[arg-type] # passed on
            file.write_bytes(random_bytes(1000, b"%d" % os.urandom(1)[0]))
            os.utime(file)
            return content

        monkeypatch.setattr(reading, "cut", changing)
        project.engine.step()
        with pytest.raises(WrongState) as caught:
            project.seal(strict=True)

        assert "changed_while_read" == caught.value.reason
        assert {"changed_while_read"} == {notice.code for notice in project.seal().notices}
        monkeypatch.setattr(reading, "cut", cut)

        assert () == project.seal(strict=True).notices, "it is at rest now, whatever was before"
        assert project.disk == project.sealed()

    def test_a_file_replaced_between_looking_and_reading(
        self, project: Project, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """By a link, a folder and a pipe, which must not be read instead."""
        project.write("src/target", "not this")
        names = ("link", "folder", "pipe")
        for name in names:
            project.write(f"src/{name}", "x")

        def late(path: bytes, *others: object) -> object:
            name = os.fsdecode(os.path.basename(path))
            if name in names and os.path.isfile(path) and not os.path.islink(path):
                os.unlink(path)
                {"link": lambda: os.symlink("target", path), "folder": lambda: os.mkdir(path)}.get(
                    name, lambda: os.mkfifo(path)
                )()
            return read_file(path, *others)  # type: ignore[arg-type] # passed on

        monkeypatch.setattr(dirty, "read_file", late)
        sealed = project.sealed()

        assert {b"target": "file", b"link": "link", b"folder": "folder"} == {
            path: kind for path, (kind, _, _) in sealed["src"].items()
        }


def test_a_closed_engine_is_closed(project: Project) -> None:
    project.seal()
    project.close()
    with pytest.raises(Unavailable) as caught:
        project.seal()

    assert "project_closed" == caught.value.reason
