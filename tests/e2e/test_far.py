"""Executors that reach no store of the daemon: their BlobService carries files there and results back."""

from __future__ import annotations

import os
import random
import shutil
import time
from pathlib import Path

import pytest

from pollinator.v1.run_pb2 import StartRunRequest
from support.far import behind_a_line, far
from support.sandbox import Sandbox, wait_until

__all__ = ["far"]
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

COPIES = """\
print(open("src/word").read())
open("result/large", "wb").write(open("data/large", "rb").read()[::-1])
open("result/small", "wb").write(open("data/sub/small", "rb").read())
"""
GREETS = """\
print("hello")
open("result/out", "w").write("from there")
"""
LARGE = random.Random(4).randbytes(18_000_000)
"""More than fits into one pack."""


def project(far: Sandbox, word: str = "first") -> Path:
    root = far.project(program=COPIES)
    (root / "cfs/src/word").write_text(word)
    (root / "cfs/data/large").write_bytes(LARGE)
    (root / "cfs/data/sub").mkdir()
    (root / "cfs/data/sub/small").write_bytes(b"small")
    return root


def run(far: Sandbox, root: Path, word: str) -> None:
    """Run it, and see that what it had was what is here, and that its results are here."""
    (root / "cfs/src/word").write_text(word)

    done = far.cli("run", "--follow", cwd=root, timeout=90)

    assert (0, f"{word}\n".encode()) == (done.returncode, done.stdout), done.stderr
    assert came_home(root / "cfs/result")


def came_home(result: Path) -> bool:
    return LARGE[::-1] == (result / "large").read_bytes() and b"small" == (result / "small").read_bytes()


def far_store(far: Sandbox) -> Path:
    return far.state / "executors/local/store/pollinator/demo"


def sizes(store: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in store.rglob("*") if path.is_file()}


def test_a_far_executor_gets_files_and_no_way_to_their_store_and_results_come_home(far: Sandbox) -> None:
    root = project(far)

    run(far, root, "hello")

    (folder,) = (far.state / "executors/local/runs").iterdir()
    request = StartRunRequest.FromString((folder / "request.pb").read_bytes())
    assert far.show("latest", root)["snapshot"]["digest"] == request.snapshot.snapshot.digest.hex()
    assert str(far.state / "store").encode() not in b"".join(
        path.read_bytes() for path in folder.rglob("*") if path.is_file()
    )
    # What is here is all that is needed: what lies at the executor may go.
    shutil.rmtree(far_store(far))
    pulled = far.cli("pull", "latest", str(far.folder / "again"), cwd=root)
    assert 0 == pulled.returncode, pulled.stderr
    assert came_home(far.folder / "again")


def test_after_a_small_change_only_that_is_sent(far: Sandbox) -> None:
    root = project(far)
    run(far, root, "one")
    before = sizes(far_store(far))

    run(far, root, "two")

    after = {name: size for name, size in sizes(far_store(far)).items() if name not in before}
    results = far.show("latest", root)["result"]["key"].rpartition("/")[2]
    sent = {name: size for name, size in after.items() if name != results and size < 1_000_000}
    # The snapshot, and the lease of the run.
    assert 2 == len(sent), after
    assert sum(sent.values()) < 4000


def test_what_is_gone_at_the_executor_is_sent_again(far: Sandbox) -> None:
    root = project(far)
    run(far, root, "one")
    shutil.rmtree(far_store(far))

    run(far, root, "two")


@pytest.mark.parametrize("lost", ["one pack", "everything"])
def test_what_a_run_did_not_find_is_looked_for_before_the_next(far: Sandbox, lost: str) -> None:
    root = project(far)
    run(far, root, "one")
    for path in sorted(far_store(far).glob("[ps]/*/*"))[: 1 if lost == "one pack" else None]:
        path.unlink()

    far.cli("run", "--follow", cwd=root)

    run(far, root, "two")


OUT = ["before_bridge", "after_bridged_chunk:20", "before_snapshot_put:2", "after_snapshot_put:2"]
BACK = ["before_fetch", "after_fetched_pack", "before_fetched_snapshot", "after_fetch", "before_results"]


@pytest.mark.parametrize("point", [*OUT, "after_bridge", "after_launch_sent", *BACK])
def test_a_daemon_killed_at_any_step_of_the_way_leads_to_one_run(far: Sandbox, point: str) -> None:
    root = project(far, "word")
    crashing = {"POLLINATOR_CRASH_AT": f"{point}@{far.folder}"}
    assert 0 == far.cli("daemon", "start", cwd=root, env=crashing).returncode
    first = far.daemon_pid()

    run(far, root, "word")

    assert first != far.daemon_pid(), "it was not killed"
    assert 1 == len(far.cli("list", "--all", "--json", cwd=root).stdout.splitlines())
    assert 1 == len(os.listdir(far.state / "executors/local/runs"))


def behind(far: Sandbox, data: int) -> Path:
    """A project that runs there."""
    root = far.project(program=GREETS)
    spec = root / "project.yaml"
    spec.write_text(spec.read_text().replace("[local]", "[there]"))
    (root / "cfs/data/large").write_bytes(LARGE[:data])
    return root


def test_a_one_line_change_is_at_an_executor_behind_a_long_line_in_a_moment(far: Sandbox) -> None:
    root = behind(far, 500_000)
    with behind_a_line(far, round_trip_s=0.1, rate=20e6 / 8) as line:
        assert 0 == far.cli("run", "--follow", cwd=root).returncode
        known, sent = set(runs_there(far)), line.sent

        (root / "cfs/src/main.py").write_text(GREETS.replace("hello", "hello again"))
        began = time.monotonic()
        with far.start_cli("run", "--follow", cwd=root) as follower:
            wait_until(lambda: set(runs_there(far)) != known, "the executor has it")
            took, sent = time.monotonic() - began, line.sent - sent
            output, messages = follower.communicate(timeout=30)

    assert (0, b"hello again\n") == (follower.returncode, output), messages
    assert "from there" == (root / "cfs/result/out").read_text()
    assert sent < 8_000
    assert took < 5


def test_a_run_is_cancelled_while_its_files_are_on_a_slow_way(far: Sandbox) -> None:
    root = behind(far, 18_000_000)
    with behind_a_line(far, round_trip_s=0.01, rate=500_000) as line:
        with far.start_cli("run", "--follow", cwd=root) as follower:
            wait_until(lambda: line.sent > 500_000, "its files are on their way")

            assert 0 == far.cli("cancel", "latest", cwd=root).returncode
            follower.communicate(timeout=40)

        assert "cancelled" == far.show("latest", root)["state"]
    assert [] == runs_there(far)


def runs_there(far: Sandbox) -> list[str]:
    return sorted(path.name for path in (far.folder / "there/x/runs").iterdir())
