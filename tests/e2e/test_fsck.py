"""Checking and repairing the store of a project as a user does it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pollinator.executors.conformance.trees import random_bytes
from support.sandbox import Sandbox, sandbox, wait_until

__all__ = ["sandbox"]
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


@pytest.fixture
def root(sandbox: Sandbox) -> Path:
    made = sandbox.project()
    for name in "ab":
        (made / "cfs" / "data" / name).write_bytes(random_bytes(3 << 20, name.encode()))
    assert 0 == sandbox.cli("run", "-f", cwd=made).returncode
    return made


def packs(sandbox: Sandbox) -> list[Path]:
    store = sandbox.state / "store/pollinator/demo"
    return sorted(store.glob("[ps]/*/*"), key=lambda path: path.stat().st_size)


def fsck(sandbox: Sandbox, root: Path, *options: str) -> tuple[int, dict[str, Any]]:
    done = sandbox.cli("fsck", "--json", *options, cwd=root)

    assert done.stdout, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, found


def test_a_sound_store_is_called_so(sandbox: Sandbox, root: Path) -> None:
    code, found = fsck(sandbox, root, "--read-data")

    assert (0, []) == (code, found["flaws"])
    assert found["snapshots"] >= 1
    assert found["bytes_read"] > 6 << 20


def test_a_lost_pack_is_named_with_its_files_and_stored_again(sandbox: Sandbox, root: Path) -> None:
    packs(sandbox)[-1].unlink()
    code, found = fsck(sandbox, root)
    repaired, after = fsck(sandbox, root, "--repair")
    again, sound = fsck(sandbox, root, "--read-data")
    restored = sandbox.cli("checkout", "latest", str(sandbox.folder / "out"), cwd=root)

    assert 65 == code
    assert any(flaw["runs"] and flaw["paths"] for flaw in found["flaws"]), found
    assert (0, True) == (repaired, all(flaw["repaired"] for flaw in after["flaws"])), after
    assert (0, []) == (again, sound["flaws"])
    assert 0 == restored.returncode, restored.stderr


def test_a_flipped_byte_is_found_by_reading_and_put_right(sandbox: Sandbox, root: Path) -> None:
    pack = packs(sandbox)[-1]
    body = bytearray(pack.read_bytes())
    body[len(body) // 2] ^= 1
    pack.write_bytes(body)
    code, _ = fsck(sandbox, root)
    with_data, found = fsck(sandbox, root, "--read-data")
    repaired, after = fsck(sandbox, root, "--read-data", "--repair")
    restored = sandbox.cli("checkout", "latest", str(sandbox.folder / "out"), cwd=root)

    assert (0, 65) == (code, with_data)
    assert ["pack_damaged"] == [flaw["code"] for flaw in found["flaws"]]
    assert 0 == repaired, after
    assert 0 == restored.returncode, restored.stderr


def flip(path: Path, at: int) -> None:
    body = bytearray(path.read_bytes())
    body[at] ^= 1
    path.write_bytes(body)


def snapshot_pack(sandbox: Sandbox, root: Path) -> Path:
    shown = json.loads(sandbox.cli("show", "--json", cwd=root).stdout)
    return Path(sandbox.state / "store/pollinator/demo" / shown["snapshot"]["key"])


def test_a_damaged_pack_of_a_snapshot_is_made_whole_and_stays(sandbox: Sandbox, root: Path) -> None:
    pack = snapshot_pack(sandbox, root)
    # The first chunk of it is one of the two directories.
    flip(pack, 20)
    code, found = fsck(sandbox, root)
    repaired, after = fsck(sandbox, root, "--repair")
    again, sound = fsck(sandbox, root, "--read-data")
    restored = sandbox.cli("checkout", "latest", str(sandbox.folder / "out"), cwd=root)

    assert (65, {"pack_damaged"}) == (code, {flaw["code"] for flaw in found["flaws"]}), found
    assert 0 == repaired, after
    assert (0, []) == (again, sound["flaws"])
    assert 0 == restored.returncode, restored.stderr


def test_lists_of_files_that_went_with_another_snapshot_are_stored_again(
    sandbox: Sandbox, root: Path
) -> None:
    first = snapshot_pack(sandbox, root)
    (root / "cfs" / "src" / "main.py").write_text("print('other')\n")
    assert 0 == sandbox.cli("run", "-f", cwd=root).returncode
    first.unlink()
    _, found = fsck(sandbox, root, "--repair")
    left = [flaw for flaw in found["flaws"] if not flaw["repaired"]]
    restored = sandbox.cli("checkout", "latest", str(sandbox.folder / "out"), cwd=root)

    def sound() -> bool:
        return fsck(sandbox, root)[0] == 0

    assert ["snapshot_missing"] == [flaw["code"] for flaw in left], found
    wait_until(sound, "nobody asks for the snapshot that is gone")
    assert 0 == restored.returncode, restored.stderr


def test_what_nobody_has_any_more_is_named_as_lost(sandbox: Sandbox, root: Path) -> None:
    packs(sandbox)[-1].unlink()
    for name in "ab":
        (root / "cfs" / "data" / name).write_bytes(b"other")
    code, found = fsck(sandbox, root, "--repair")
    left = [flaw for flaw in found["flaws"] if not flaw["repaired"]]

    assert 65 == code
    assert left
    assert left[0]["runs"]
