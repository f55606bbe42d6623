"""The store in a folder."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from pollinator.chunks.digest import digest_of
from pollinator.chunks.folder import LEFTOVER_S, FolderStore
from pollinator.chunks.keys import pack_key
from pollinator.wire.errors import Denied, Exhausted, InvalidInput, NotFound
from support.disk import full_disk

KEY = pack_key("p", digest_of(b"object"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store" / "pollinator" / "demo"


def test_what_is_made_is_for_this_user_only(root: Path) -> None:
    before = os.umask(0o022)
    try:
        FolderStore(root).put(KEY, b"object")
    finally:
        os.umask(before)
    made = [root.parent.parent, *root.parent.parent.rglob("*")]

    assert {stat.S_IMODE(path.stat().st_mode) for path in made if path.is_dir()} == {0o700}
    assert [stat.S_IMODE(path.stat().st_mode) for path in made if path.is_file()] == [0o600]


def test_folders_that_were_there_keep_their_mode(root: Path) -> None:
    root.mkdir(parents=True)
    root.chmod(0o750)
    FolderStore(root).put(KEY, b"object")

    assert stat.S_IMODE(root.stat().st_mode) == 0o750


def test_a_temporary_file_is_no_object(root: Path) -> None:
    store = FolderStore(root)
    store.put(KEY, b"object")
    (root / "tmp" / "half").write_bytes(b"ob")

    assert list(store.keys()) == [KEY]


def test_what_a_killed_writer_left_is_cleared_away_after_a_day(root: Path) -> None:
    store = FolderStore(root)
    store.check()
    old, new = root / "tmp" / "old", root / "tmp" / "new"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (0, old.stat().st_mtime - LEFTOVER_S - 10))
    store.check()

    assert list((root / "tmp").iterdir()) == [new]


def test_a_damaged_object_is_healed_by_writing_it_again(root: Path) -> None:
    store = FolderStore(root)
    store.put(KEY, b"object")
    (root / KEY).write_bytes(b"objecT")
    store.put(KEY, b"object")

    assert store.get(KEY) == b"object"


def test_many_writers_of_one_object_do_not_disturb_each_other(root: Path) -> None:
    data = os.urandom(200_000)
    seen: set[bytes] = set()
    store = FolderStore(root)
    store.put(KEY, data)

    def write() -> None:
        for _ in range(10):
            FolderStore(root).put(KEY, data)
            seen.add(store.get(KEY))

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert seen == {data}
    assert list((root / "tmp").iterdir()) == []


def test_a_key_cannot_lead_out_of_the_store(root: Path) -> None:
    store = FolderStore(root)
    for key in ("../../secret", "/etc/passwd", "p/ab/../../../x"):
        with pytest.raises(InvalidInput):
            store.get(key)
        with pytest.raises(InvalidInput):
            store.put(key, b"")
        with pytest.raises(InvalidInput):
            store.delete(key)


def test_a_missing_object_is_named(root: Path) -> None:
    with pytest.raises(NotFound) as caught:
        FolderStore(root).get(KEY)

    assert caught.value.reason == "object_missing"
    assert KEY in caught.value.message


def test_a_full_disk_leaves_no_half_object_and_says_what_to_do(root: Path) -> None:
    store = FolderStore(root)
    with full_disk(1024), pytest.raises(Exhausted) as caught:
        store.put(KEY, bytes(5000))

    assert caught.value.reason == "disk_full"
    assert str(root) in caught.value.hint
    assert list(store.keys()) == []
    assert list((root / "tmp").iterdir()) == []


def test_a_file_where_the_store_should_be_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    store = FolderStore(tmp_path / "file")
    for act in (store.check, lambda: store.put(KEY, b"")):
        with pytest.raises(Denied) as caught:
            act()

        assert caught.value.reason == "store_denied"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_an_error(root: Path) -> None:
    root.mkdir(parents=True)
    root.chmod(0o500)

    with pytest.raises(Denied):
        FolderStore(root).check()


def test_the_folder_is_named_in_the_identity(root: Path) -> None:
    assert FolderStore(root).identity == f"folder:{root}"
