"""What vanishes in the middle of a seal: no snapshot holds the part of a tree that was read before."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import pytest

from pollinator.daemon.sync import dirty
from pollinator.daemon.sync.reading import Read, read_file
from pollinator.wire.errors import Halted
from support.projects import HALTED, IN_SYNC, Project, project
from support.storing import MemoryStore, random_bytes

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


class TestInTheMiddle:
    """Half of the files are read when the rest goes."""

    @pytest.fixture(autouse=True)
    def sealed_once(self, project: Project) -> None:
        project.write("src/f", "x")
        for number in range(FILES):
            project.write(f"data/f{number:02}", random_bytes(1000, b"%d" % number))
        project.seal()
        assert IN_SYNC == project.settle().state
        self.objects = dict(store_of(project).objects)
        for number in range(FILES):
            project.write(f"data/f{number:02}", random_bytes(1000, b"new %d" % number))

    def halted(self, project: Project) -> str:
        with pytest.raises(Halted) as caught:
            project.seal()

        assert HALTED == project.engine.status().state
        objects = store_of(project).objects
        assert self.objects.items() <= objects.items(), "something was removed or replaced"
        assert not [key for key in objects.keys() - self.objects.keys() if key.startswith("s/")]
        return caught.value.reason

    def test_the_folder_is_moved_away(self, project: Project, after: Callable[..., None]) -> None:
        away = project.root / "away"
        after(FILES // 2, lambda: project.cfs.rename(away))

        assert "root_gone" == self.halted(project)
        away.rename(project.cfs)

        assert project.disk == project.sealed()

    def test_a_tree_is_moved_away(self, project: Project, after: Callable[..., None]) -> None:
        away = project.root / "away"
        after(FILES // 2, lambda: project.data.rename(away))

        assert "tree_emptied" == self.halted(project)
        away.rename(project.data)

        assert project.disk == project.sealed()

    def test_a_tree_is_emptied(self, project: Project, after: Callable[..., None]) -> None:
        def empty() -> None:
            shutil.copytree(project.data, project.root / "kept")
            for file in project.data.iterdir():
                file.unlink()

        after(FILES // 2, empty)

        assert "tree_emptied" == self.halted(project)
        project.data.rmdir()
        (project.root / "kept").rename(project.data)

        assert project.disk == project.sealed()

    def test_a_tree_is_replaced_by_a_link(self, project: Project, after: Callable[..., None]) -> None:
        away = project.root / "away"

        def replace() -> None:
            project.data.rename(away)
            project.data.symlink_to("nowhere")

        after(FILES // 2, replace)

        assert "tree_replaced" == self.halted(project)
        project.data.unlink()
        away.rename(project.data)

        assert project.disk == project.sealed()


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
