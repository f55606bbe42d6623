"""What the sync engine does when folders, disks or all files of a project are gone."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pollinator.daemon.watch.choose import VARIABLE
from pollinator.executors.conformance.trees import random_bytes
from pollinator.wire.errors import Halted
from support.projects import HALTED, IN_SYNC, Project, project

__all__ = ["project"]


class TestVanished:
    """What is gone at once is hardly deleted on purpose."""

    @pytest.fixture(autouse=True)
    def sealed_once(self, project: Project) -> None:
        project.write("src/f", "x")
        for number in range(30):
            project.write(f"data/f{number}", "x")
        project.seal()

    def halted(self, project: Project, **options: bool) -> str:
        with pytest.raises(Halted) as caught:
            project.seal(**options)
        status = project.engine.status()

        assert HALTED == status.state
        assert caught.value.message in status.problem
        assert caught.value.hint in status.problem
        return caught.value.reason

    def test_all_of_cfs_gone_and_back(self, project: Project) -> None:
        project.cfs.rename(project.root / "away")

        assert "root_gone" == self.halted(project)
        with pytest.raises(Halted):
            project.engine.step()
        (project.root / "away").rename(project.cfs)

        assert IN_SYNC == project.settle().state
        assert project.disk == project.sealed()

    def test_the_project_gone_and_back(self, project: Project) -> None:
        project.root.rename(project.root.with_name("away"))

        assert "root_gone" == self.halted(project)
        project.root.with_name("away").rename(project.root)

        assert project.disk == project.sealed()

    def test_cfs_replaced_by_a_file(self, project: Project) -> None:
        project.cfs.rename(project.root / "away")
        project.cfs.touch()

        assert "root_gone" == self.halted(project)

    def test_cfs_replaced_by_another_folder(self, project: Project) -> None:
        project.cfs.rename(project.root / "away")
        project.write("src/g", "y")

        assert "tree_emptied" == self.halted(project)
        project.write("data/new", "y")

        assert project.disk == project.sealed()

    def test_a_tree_emptied_is_halted_in_the_background_and_goes_on_by_itself(self, project: Project) -> None:
        kept = project.root / "kept"
        shutil.copytree(project.data, kept)
        for file in project.data.iterdir():
            file.unlink()

        assert HALTED == project.settle().state
        assert "tree_emptied" == self.halted(project)
        for file in kept.iterdir():
            file.rename(project.data / file.name)

        assert (IN_SYNC, "") == (project.settle().state, project.engine.status().problem)
        assert project.disk == project.sealed()

    def test_an_accepted_deletion_is_accepted_once_and_for_all(self, project: Project) -> None:
        for file in project.data.iterdir():
            file.unlink()

        assert "tree_emptied" == self.halted(project)
        project.seal(accept_deletions=True)

        assert project.disk == project.sealed()
        assert IN_SYNC == project.settle().state

    def test_a_tree_that_is_gone_altogether_is_halted_however_small(self, project: Project) -> None:
        shutil.rmtree(project.src)

        assert "tree_emptied" == self.halted(project)
        assert "cfs/src had 1 files and is gone" in project.engine.status().problem
        project.src.mkdir()

        assert project.disk == project.sealed(), "a small tree may be emptied"

    @pytest.mark.parametrize("accepted", [False, True])
    def test_a_tree_replaced_by_a_file_or_a_link_is_no_empty_tree(
        self, project: Project, accepted: bool
    ) -> None:
        project.data.rename(project.root / "away")
        project.data.write_text("a file")

        assert "tree_replaced" == self.halted(project, accept_deletions=accepted)
        project.data.unlink()
        project.data.symlink_to("../away")

        assert "tree_replaced" == self.halted(project, accept_deletions=accepted)
        project.data.unlink()
        (project.root / "away").rename(project.data)

        assert project.disk == project.sealed()

    def test_after_a_restart_as_well(self, project: Project) -> None:
        shutil.rmtree(project.data)
        project.restart()

        assert "tree_emptied" == self.halted(project)

    def test_nothing_is_deleted_meanwhile(self, project: Project) -> None:
        """Coming back costs no second upload."""
        big = project.write("data/big", random_bytes(100_000))
        before = project.seal().ref
        project.cfs.rename(project.root / "away")
        self.halted(project)
        (project.root / "away").rename(project.cfs)
        sealed = project.seal()

        assert big.exists()
        assert (before, 0) == (sealed.ref, sealed.report.bytes_uploaded)


@pytest.fixture
def disk(project: Project, tmp_path: Path) -> Iterator[Path]:
    """Another file system, mounted where data is."""
    other = tmp_path / "other"
    other.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", str(other)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("nothing may be mounted here")
    mount(other, project.data)
    yield other
    for place in (project.data, other):
        subprocess.run(["umount", place], capture_output=True, check=False)


def mount(what: Path, where: Path) -> None:
    """Make a folder appear elsewhere."""
    subprocess.run(["mount", "--bind", what, where], check=True)


@pytest.mark.parametrize("watch", ["inotify", "watchdog", "poll"])
def test_a_disk_that_is_not_mounted_halts_however_few_files_it_has(
    project: Project, disk: Path, monkeypatch: pytest.MonkeyPatch, watch: str
) -> None:
    monkeypatch.setenv(VARIABLE, watch)
    project.write("data/model", random_bytes(1000))
    before = project.seal().ref
    assert IN_SYNC == project.settle().state
    subprocess.run(["umount", project.data], check=True)
    with pytest.raises(Halted) as caught:
        project.seal()

    assert "tree_emptied" == caught.value.reason
    assert HALTED == project.settle().state
    mount(disk, project.data)

    assert before == project.seal().ref
    assert IN_SYNC == project.settle().state


@pytest.mark.parametrize("watch", ["inotify", "watchdog", "poll"])
def test_a_disk_that_is_mounted_later_and_not_any_more_halts_as_well(
    project: Project, disk: Path, monkeypatch: pytest.MonkeyPatch, watch: str
) -> None:
    monkeypatch.setenv(VARIABLE, watch)
    subprocess.run(["umount", project.data], check=True)
    project.seal()
    project.seal()
    (disk / "model").touch()
    mount(disk, project.data)
    assert project.disk == project.sealed()
    subprocess.run(["umount", project.data], check=True)
    with pytest.raises(Halted) as caught:
        project.seal()

    assert "tree_emptied" == caught.value.reason


def test_what_is_mounted_deep_in_a_tree_is_seen_and_watched(project: Project, disk: Path) -> None:
    subprocess.run(["umount", project.data], check=True)
    (project.src / "d").mkdir()
    project.seal()
    (disk / "f").write_text("x")
    while project.engine.step() or project.engine.wait(0.1):
        pass
    mount(disk, project.src / "d")
    try:
        assert project.engine.wait(10)
        assert project.disk == project.sealed()
        (disk / "f").write_text("y")

        assert project.disk == project.sealed()
    finally:
        subprocess.run(["umount", project.src / "d"], check=True)

    assert project.disk == project.sealed()
