"""The files of runs, and what is kept of earlier ones."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import patch

import pytest

from pollinator.chunks.layout import lay_out
from pollinator.executors import files as under_test
from pollinator.executors import spares
from pollinator.executors.conformance.trees import File, Link, Listing, random_bytes
from pollinator.executors.files import Files
from pollinator.v1.run_pb2 import StartRunRequest
from pollinator.wire.errors import Exhausted, InvalidInput, NotFound, WrongState
from support.hosting import Place
from support.sandbox import wait_until
from support.storing import listed

MUCH = 1 << 30
OLD: Listing = {
    b"main.py": b"print(1)\n" * 100,
    b"run.sh": File(b"#!/bin/sh\n" * 20, 0o755),
    b"lib": {b"%d.py" % at: random_bytes(500, b"%d" % at) for at in range(20)},
    b"to": Link(b"main.py"),
}
NEW: Listing = {**OLD, b"main.py": b"print(2)\n" * 100, b"new": b"n" * 200}


class Desk:
    """An executor's files, and runs that ask for some."""

    def __init__(self, root: Path) -> None:
        self.place = Place(root)
        self.folder = root / "cache"
        self.folder.mkdir()
        self.work = root / "work"
        self.opened: list[Files] = []
        self.files = self.restart()

    def restart(self, limit_bytes: int = MUCH) -> Files:
        """As a new process finds it."""
        self.files = Files(self.place.open_store, self.folder, limit_bytes)
        self.opened.append(self.files)
        return self.files

    def lay_out(self, request: StartRunRequest) -> dict[bytes, tuple[str, int, bytes]]:
        """The src of a run, and in ``place.store.gets`` what it cost."""
        self.place.store.gets.clear()
        self.files.lay_out(request, self.work, lambda _: None)
        assert ["data", "src"] == sorted(os.listdir(self.work))
        return listed(self.work / "src")

    def prepare(self, request: StartRunRequest) -> Path:
        """Have a spare made; where it is."""
        self.files.prepare(request)
        wait_until(lambda: bool(self.spares), "there is a spare")
        return self.spares[0]

    @property
    def spares(self) -> list[Path]:
        return [path for path in (self.folder / "spares").iterdir() if path.name[0] != "."]

    def expected(self, request: StartRunRequest) -> dict[bytes, tuple[str, int, bytes]]:
        """What an executor that keeps nothing lays out."""
        self.restart(0)
        found = self.lay_out(request)
        self.restart()
        return found


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    # However full this machine's disk is.
    monkeypatch.setattr(spares, "FREE_SHARE", 1.0)
    desk = Desk(tmp_path)
    yield desk
    for files in desk.opened:
        files.close()


def test_the_next_run_of_a_project_has_the_files_of_its_own_snapshot(desk: Desk) -> None:
    first, second = desk.place.request(src=OLD), desk.place.request("run2", src=NEW)
    before, after = desk.expected(first), desk.expected(second)
    assert before == desk.lay_out(first)
    desk.prepare(first)

    assert after == desk.lay_out(second)
    assert [] == desk.spares
    desk.prepare(second)
    assert before == desk.lay_out(first)


def test_a_spare_takes_its_share_of_what_is_free_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = spares.Spares(tmp_path, 1 << 30).wanted
    answers: list[bool] = []
    for share in (1.0, 0.0):
        monkeypatch.setattr(spares, "FREE_SHARE", share)
        answers.append(wanted("name", 1))

    assert [True, False] == answers


def test_files_that_did_not_change_are_not_written_again(desk: Desk) -> None:
    first, second = desk.place.request(src=OLD), desk.place.request("run2", src=NEW)
    spare = desk.prepare(first)
    inodes = {name: (spare / "src" / name).stat().st_ino for name in ("run.sh", "lib/7.py")}
    desk.lay_out(second)

    assert inodes == {name: (desk.work / "src" / name).stat().st_ino for name in inodes}


def test_a_run_of_the_same_snapshot_asks_the_store_for_nothing(desk: Desk) -> None:
    request = desk.place.request(src=OLD)
    desk.lay_out(request)
    desk.lay_out(request)

    assert [] == desk.place.store.gets


def test_a_run_with_changes_asks_the_store_for_its_snapshot_only(desk: Desk) -> None:
    desk.lay_out(desk.place.request(src=OLD))
    second = desk.place.request("run2", src=NEW)
    desk.lay_out(second)

    assert [(second.snapshot.snapshot.key, 0, None)] == desk.place.store.gets


def test_what_a_job_does_to_its_files_reaches_no_other_run(desk: Desk) -> None:
    request = desk.place.request(src=OLD)
    expected = desk.expected(request)
    desk.lay_out(request)
    desk.prepare(request)
    for path in [*(desk.work / "src").rglob("*")]:
        if path.is_file() and not path.is_symlink():
            path.chmod(0o777)
            path.write_bytes(b"mine")

    assert expected == desk.lay_out(request)


def overwritten(spare: Path) -> None:
    info = (spare / "src/main.py").stat()
    (spare / "src/main.py").write_bytes(b"x" * info.st_size)
    os.utime(spare / "src/main.py", ns=(info.st_atime_ns, info.st_mtime_ns))


def of_another_boot(spare: Path) -> None:
    record = json.loads((spare / "spare.json").read_text())
    (spare / "spare.json").write_text(json.dumps({**record, "boot": "another"}))


def with_more(spare: Path) -> None:
    (spare / "src/lib/more.py").touch()


def with_less(spare: Path) -> None:
    (spare / "src/lib/3.py").unlink()


def of_other_modes(spare: Path) -> None:
    (spare / "src/run.sh").chmod(0o644)


def with_half_a_record(spare: Path) -> None:
    (spare / "spare.json").write_text("{")


def without_a_record(spare: Path) -> None:
    (spare / "spare.json").unlink()


def without_data(spare: Path) -> None:
    (spare / "data").rmdir()


def deleted(spare: Path) -> None:
    shutil.rmtree(spare)


@pytest.mark.parametrize(
    "harm",
    [
        overwritten,
        of_another_boot,
        with_more,
        with_less,
        of_other_modes,
        with_half_a_record,
        without_a_record,
        without_data,
        deleted,
    ],
)
def test_a_spare_that_was_touched_is_not_used(desk: Desk, harm: Callable[[Path], None]) -> None:
    first, second = desk.place.request(src=OLD), desk.place.request("run2", src=NEW)
    expected = desk.expected(second)
    harm(desk.prepare(first))

    assert expected == desk.lay_out(second)


def test_a_spare_that_is_of_no_use_makes_way_for_another(desk: Desk) -> None:
    request = desk.place.request(src=OLD)
    without_a_record(desk.prepare(request))
    desk.files.prepare(request)

    wait_until(lambda: any((each / "spare.json").exists() for each in desk.spares), "another is made")


def test_a_spare_that_was_not_finished_is_cleared_away(desk: Desk) -> None:
    request = desk.place.request(src=OLD)
    expected = desk.expected(request)
    desk.prepare(request).rename(desk.folder / "spares" / ".half")
    desk.restart()

    assert expected == desk.lay_out(request)
    assert [] == list((desk.folder / "spares").iterdir())


def test_a_spare_whose_snapshot_is_gone_is_replaced_by_fresh_files(desk: Desk) -> None:
    first, second = desk.place.request(src=OLD), desk.place.request("run2", src=NEW)
    expected = desk.expected(second)
    desk.prepare(first)
    shutil.rmtree(desk.folder / "packs")
    desk.place.store.delete(first.snapshot.snapshot.key)

    assert expected == desk.lay_out(second)


def test_spares_of_other_projects_and_rules_are_left_alone(desk: Desk) -> None:
    request = desk.place.request(src=OLD)
    desk.prepare(request)
    desk.lay_out(desk.place.request("run2", src=OLD, allow_external_links=True))

    assert 1 == len(desk.spares)


def test_a_link_that_leaves_the_tree_is_refused_as_in_fresh_files(desk: Desk) -> None:
    desk.prepare(desk.place.request(src=OLD))
    with pytest.raises(InvalidInput) as caught:
        desk.lay_out(desk.place.request("run2", src={**OLD, b"evil": Link(b"/etc")}))

    assert "external_link" == caught.value.reason


def test_a_spare_larger_than_the_limit_is_not_made(desk: Desk) -> None:
    request = desk.place.request(src={b"f": random_bytes(100_000)})
    desk.restart(150_000)
    desk.files.prepare(request)
    small = desk.place.request("run2", src={b"f": b"x" * 500})
    desk.prepare(small)
    size = sum(path.stat().st_size for path in desk.spares[0].rglob("f"))

    assert (1, 500) == (len(desk.spares), size)


def test_an_executor_may_keep_nothing(desk: Desk) -> None:
    request = desk.place.request(src=OLD)
    desk.restart(0)
    desk.lay_out(request)
    desk.files.prepare(request)
    desk.lay_out(request)

    assert desk.place.store.gets
    assert [[], []] == [os.listdir(desk.folder / name) for name in ("packs", "spares")]


def test_everything_that_is_kept_may_be_deleted_at_any_time(desk: Desk) -> None:
    first, second = desk.place.request(src=OLD), desk.place.request("run2", src=NEW)
    expected = desk.expected(second)
    desk.prepare(first)
    shutil.rmtree(desk.folder)

    assert expected == desk.lay_out(second)


def test_what_is_kept_makes_way_when_the_disk_is_full(desk: Desk) -> None:
    first = desk.place.request(src=OLD)
    second = desk.place.request("run2", src=NEW, allow_external_links=True)
    expected = desk.expected(second)
    desk.lay_out(first)
    desk.prepare(first)
    plain, tries = lay_out, list[int]()

    def full_once(*arguments: object, **options: object) -> object:
        tries.append(len(desk.spares))
        if len(tries) == 1:
            raise Exhausted("no space left", reason="disk_full")
        return plain(*arguments, **options)  # type: ignore[arg-type] # passed on

    with patch.object(under_test, "lay_out", full_once):
        found = desk.lay_out(second)

    assert (expected, [1, 0, 0]) == (found, tries)


def test_a_wish_to_stop_is_passed_on_and_leaves_no_second_try(desk: Desk) -> None:
    desk.prepare(desk.place.request(src=OLD))
    told: list[int] = []

    def stop(done: int) -> None:
        told.append(done)
        raise WrongState("cancelled", reason="cancelled")

    with pytest.raises(WrongState):
        desk.files.lay_out(desk.place.request("run2", src=NEW), desk.work, stop)

    assert 1 == len(told)


def test_progress_counts_both_trees(desk: Desk) -> None:
    told: list[int] = []
    desk.files.lay_out(desk.place.request(src={b"a": b"x" * 500, b"b": b"y" * 300}), desk.work, told.append)

    assert [500, 800] == told


def test_a_snapshot_that_is_gone_is_an_error(desk: Desk) -> None:
    request = desk.place.request(src=OLD)
    desk.place.store.delete(request.snapshot.snapshot.key)

    with pytest.raises(NotFound):
        desk.lay_out(request)
