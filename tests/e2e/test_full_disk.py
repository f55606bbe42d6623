"""A disk that is really full, under the state or under the results: it is told, and nothing is lost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pollinator.executors.conformance.trees import random_bytes
from support.disk import grow, small_disk
from support.sandbox import Sandbox, sandbox, wait_until

__all__ = ["sandbox"]
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

MIB = 1024 * 1024
PROGRAM = """\
import os, shutil
shutil.copy("data/large", os.environ["POLLINATOR_RESULT"] + "/large")
"""


@pytest.fixture
def state(sandbox: Sandbox) -> Iterator[Path]:
    """The daemon's and the executor's state, on a disk of their own."""
    place = sandbox.folder / "s"
    place.mkdir()
    with small_disk(place, "12m"):
        yield place
        sandbox.kill_everything()


def test_a_run_whose_files_find_no_room_in_the_store_says_so_and_the_next_one_goes_on(
    sandbox: Sandbox, state: Path
) -> None:
    root = sandbox.project(program=PROGRAM)
    (root / "cfs/data/large").write_bytes(random_bytes(16 * MIB))

    ended = sandbox.cli("run", "--follow", cwd=root)

    assert 0 != ended.returncode
    # In the words of whoever meets it first, the store or the index.
    assert b"No space left" in ended.stderr or b"disk is full" in ended.stderr, ended.stderr
    grow(state, "200m")

    ended = sandbox.cli("run", "--follow", cwd=root)

    assert 0 == ended.returncode, ended.stderr
    assert (root / "cfs/data/large").read_bytes() == (root / "cfs/result/large").read_bytes()


def test_files_that_find_no_room_in_the_background_are_shown_and_sent_when_there_is_some(
    sandbox: Sandbox, state: Path
) -> None:
    root = sandbox.project(program=PROGRAM)
    assert 0 == sandbox.cli("sync", cwd=root).returncode
    (root / "large").write_bytes(random_bytes(16 * MIB))
    (root / "large").rename(root / "cfs/data/large")

    wait_until(lambda: "No space left" in _project(sandbox, root)["problem"], "it is said")
    grow(state, "200m")
    wait_until(lambda: not _project(sandbox, root).get("problem"), "it goes on", 60)

    assert 0 == sandbox.cli("run", "--follow", cwd=root).returncode
    assert (root / "cfs/data/large").read_bytes() == (root / "cfs/result/large").read_bytes()


def test_results_that_find_no_room_at_home_are_told_and_can_be_had_later(sandbox: Sandbox) -> None:
    root = sandbox.project(program=PROGRAM)
    (root / "cfs/data/large").write_bytes(random_bytes(4 * MIB))
    result = root / "cfs/result"
    with small_disk(result, "2m"):
        (result / "mine").write_text("mine")

        ended = sandbox.cli("run", "--follow", cwd=root)

        assert 0 != ended.returncode
        assert b"no space left" in ended.stdout + ended.stderr
        assert [result / "mine"] == list(result.iterdir()), "nothing half done is left"
        grow(result, "20m")

        assert 0 == sandbox.cli("pull", "latest", cwd=root).returncode
        assert (root / "cfs/data/large").read_bytes() == (result / "large").read_bytes()
        assert "mine" == (result / "mine").read_text()
        sandbox.kill_everything()


def _project(sandbox: Sandbox, root: Path) -> dict[str, str]:
    status = json.loads(sandbox.cli("status", "--json", cwd=root).stdout)
    found: dict[str, str] = next(each for each in status["projects"] if each["root"] == str(root))
    return found
