"""Folders that vanish, are unmounted or replaced, also in the middle of a seal: the store keeps all."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pollinator.daemon.sync import dirty
from pollinator.daemon.sync.reading import Read, read_file
from pollinator.daemon.watch.choose import VARIABLE
from pollinator.executors.conformance.trees import random_bytes
from pollinator.wire.errors import Halted
from support.projects import HALTED, IN_SYNC, Project, project
from support.storing import MemoryStore

__all__ = ["project"]

FILES = 30


@pytest.fixture
def after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[], object]], None]:
    """Lets something happen once, after so many files were read."""

    def arrange(count: int, happening: Callable[[], object]) -> None:
        left = count

        def read(path: bytes, *arguments: object) -> Read:
            nonlocal left
            left -= 1
            if left == -1:
                happening()
            return read_file(path, *arguments)  # type: ignore[arg-type] # passed on

        monkeypatch.setattr(dirty, "read_file", read)

    return arrange


class Kept:
    """A project that was sealed and is in sync, and what its store held then."""

    def __init__(self, project: Project) -> None:
        self._project = project
        project.write("src/f", "x")
        for number in range(FILES):
            project.write(f"data/f{number:02}", random_bytes(1000, b"%d" % number))
        self._ref = project.seal().ref
        assert IN_SYNC == project.settle().state
        self._objects = dict(store_of(project).objects)

    def halted(self) -> str:
        """Sync halts and says so, and nothing is removed from the store, or sealed; returns the reason."""
        with pytest.raises(Halted) as caught:
            self._project.seal()
        status = self._project.engine.status()

        assert HALTED == status.state
        assert caught.value.message in status.problem
        objects = store_of(self._project).objects
        assert self._objects.items() <= objects.items(), "something was removed or replaced"
        assert not [key for key in objects.keys() - self._objects.keys() if key.startswith("s/")]
        return caught.value.reason

    def as_before(self) -> bool:
        """All is back, and costs no upload."""
        requests = len(store_of(self._project).puts)
        return self._ref == self._project.seal().ref and requests == len(store_of(self._project).puts)


class TestInTheMiddle:
    """Half of the files are read when the rest goes."""

    @pytest.fixture(autouse=True)
    def rewritten(self, project: Project) -> None:
        self.kept = Kept(project)
        for number in range(FILES):
            project.write(f"data/f{number:02}", random_bytes(1000, b"new %d" % number))

    def test_the_folder_is_moved_away(self, project: Project, after: Callable[..., None]) -> None:
        away = project.root / "away"
        after(FILES // 2, lambda: project.cfs.rename(away))

        assert "root_gone" == self.kept.halted()
        away.rename(project.cfs)

        assert project.disk == project.sealed()

    def test_a_tree_is_moved_away(self, project: Project, after: Callable[..., None]) -> None:
        away = project.root / "away"
        after(FILES // 2, lambda: project.data.rename(away))

        assert "tree_emptied" == self.kept.halted()
        away.rename(project.data)

        assert project.disk == project.sealed()

    def test_a_tree_is_emptied(self, project: Project, after: Callable[..., None]) -> None:
        def empty() -> None:
            shutil.copytree(project.data, project.root / "kept")
            for file in project.data.iterdir():
                file.unlink()

        after(FILES // 2, empty)

        assert "tree_emptied" == self.kept.halted()
        project.data.rmdir()
        (project.root / "kept").rename(project.data)

        assert project.disk == project.sealed()

    def test_a_tree_is_replaced_by_a_link(self, project: Project, after: Callable[..., None]) -> None:
        away = project.root / "away"

        def replace() -> None:
            project.data.rename(away)
            project.data.symlink_to("nowhere")

        after(FILES // 2, replace)

        assert "tree_replaced" == self.kept.halted()
        project.data.unlink()
        away.rename(project.data)

        assert project.disk == project.sealed()


class TestReplaced:
    """Something else is where a folder was."""

    @pytest.fixture(params=["cfs", "the project"])
    def place(self, request: pytest.FixtureRequest, project: Project) -> Path:
        self.kept = Kept(project)
        return project.cfs if request.param == "cfs" else project.root

    @pytest.fixture(autouse=True)
    def moved(self, place: Path) -> Path:
        return place.rename(place.with_name("away"))

    def test_a_file(self, project: Project, place: Path, moved: Path) -> None:
        place.touch()

        assert "root_gone" == self.kept.halted()
        place.unlink()
        moved.rename(place)

        assert self.kept.as_before()
        assert IN_SYNC == project.settle().state

    def test_a_link_that_leads_nowhere(self, place: Path, moved: Path) -> None:
        place.symlink_to("nowhere")

        assert "root_gone" == self.kept.halted()
        place.unlink()
        moved.rename(place)

        assert self.kept.as_before()

    def test_a_link_to_an_empty_folder(self, project: Project, place: Path, moved: Path) -> None:
        (project.root.parent / "empty" / "cfs").mkdir(parents=True)
        empty = project.root.parent / "empty"
        place.symlink_to(empty if place == project.root else empty / "cfs")

        assert "tree_emptied" == self.kept.halted()
        place.unlink()
        moved.rename(place)

        assert self.kept.as_before()

    def test_a_link_to_where_it_was_moved_is_followed(
        self, project: Project, place: Path, moved: Path
    ) -> None:
        place.symlink_to(moved.name)

        assert self.kept.as_before()
        project.write("src/f", "y")

        assert project.disk == project.sealed()


@pytest.fixture
def mounted(project: Project, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A file system of its own where the project, its cfs or its data is."""
    place: Path = getattr(project, request.param)
    kept = project.root.with_name("kept")
    shutil.copytree(place, kept)
    command = ["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("nothing may be mounted here")
    shutil.copytree(kept, place, dirs_exist_ok=True)
    yield place
    while not subprocess.run(["umount", "--lazy", place], capture_output=True, check=False).returncode:
        pass


@pytest.mark.parametrize("watch", ["inotify", "watchdog", "poll"])
@pytest.mark.parametrize(
    ("mounted", "reason"),
    [("root", "root_gone"), ("cfs", "tree_emptied"), ("data", "tree_emptied")],
    indirect=["mounted"],
)
def test_unmounted_and_mounted_again(
    project: Project, mounted: Path, reason: str, watch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, watch)
    kept = Kept(project)
    aside = project.root.with_name("aside")
    aside.mkdir()
    subprocess.run(["mount", "--bind", mounted, aside], check=True)
    try:
        subprocess.run(["umount", "--lazy", mounted], check=True)
        if mounted == project.root:
            # As where nothing is below a place at which something is mounted.
            shutil.rmtree(project.cfs)

        assert reason == kept.halted()
        subprocess.run(["mount", "--bind", aside, mounted], check=True)

        assert kept.as_before()
        assert IN_SYNC == project.settle().state
    finally:
        subprocess.run(["umount", "--lazy", aside], check=True)


@pytest.mark.parametrize("mounted", ["cfs", "data"], indirect=True)
def test_unmounted_in_the_middle_of_a_seal(
    project: Project, mounted: Path, after: Callable[..., None]
) -> None:
    kept = Kept(project)
    for number in range(FILES):
        project.write(f"data/f{number:02}", random_bytes(1000, b"new %d" % number))
    after(FILES // 2, lambda: subprocess.run(["umount", "--lazy", mounted], check=True))

    assert "tree_emptied" == kept.halted()


def test_what_is_deleted_in_the_middle_is_gone_and_all_else_is_there(
    project: Project, after: Callable[..., None]
) -> None:
    for number in range(FILES):
        project.write(f"data/f{number:02}", random_bytes(1000, b"%d" % number))

    def delete() -> None:
        for number in range(FILES // 2, FILES - 1):
            (project.data / f"f{number:02}").unlink()

    after(FILES // 4, delete)

    sealed = project.sealed()

    assert project.disk == sealed


def store_of(project: Project) -> MemoryStore:
    """The project's store."""
    assert isinstance(project.store, MemoryStore)
    return project.store
