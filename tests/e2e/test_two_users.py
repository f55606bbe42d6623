"""Two users with a daemon each, on one bucket, with a project of the same name: none disturbs the other."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pollinator.chunks.keys import namespace
from pollinator.chunks.pack import parse_footer, verify
from pollinator.chunks.s3 import S3Store
from pollinator.executors.conformance.trees import random_bytes
from support.s3_servers import S3Server
from support.sandbox import Sandbox, sandbox
from support.storing import listed
from support.syncing import read_back, ref_of

__all__ = ["sandbox"]
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

ROUNDS = 4
PROGRAM = """\
import os, shutil
shutil.copy("data/own", os.environ["POLLINATOR_RESULT"] + "/own")
shutil.copy("data/same", os.environ["POLLINATOR_RESULT"] + "/same")
"""


@pytest.fixture
def other() -> Iterator[Sandbox]:
    """The second user."""
    box = Sandbox(Path(tempfile.mkdtemp(prefix="pol-")))
    try:
        yield box
    finally:
        box.close()


def test_two_daemons_on_one_bucket_miss_no_chunk(
    sandbox: Sandbox, other: Sandbox, rclone_s3: S3Server
) -> None:
    """Both store the same large file at the same time, and each one of its own; one daemon is killed."""
    name = sandbox.folder.name

    def live(user: Sandbox) -> None:
        root = user.project(name, program=PROGRAM)
        for turn in range(ROUNDS):
            own = random_bytes(700_000, f"{user.folder} {turn}".encode())
            (root / "cfs/data/own").write_bytes(own)
            (root / "cfs/data/same").write_bytes(random_bytes(3_000_000, b"%d" % turn))
            for at in range(50):
                (root / f"cfs/src/f{at}").write_text(f"{turn} {at}")
            if user is other and turn % 2:
                user.kill_daemon()
            ended = user.cli("run", "--follow", cwd=root, env=rclone_s3.environment())

            assert 0 == ended.returncode, ended.stderr
            assert own == (root / "cfs/result/own").read_bytes()
            assert (root / "cfs/data/same").read_bytes() == (root / "cfs/result/same").read_bytes()

    with ThreadPoolExecutor(2) as threads:
        for done in [threads.submit(live, user) for user in (sandbox, other)]:
            done.result()

    store = S3Store(rclone_s3.settings().s3, namespace(name))
    try:
        assert 4 * ROUNDS == _read_everything(store)
    finally:
        store.close()
    for user in (sandbox, other):
        root = user.folder / name
        assert 0 == user.cli("checkout", "latest", "there", cwd=root).returncode

        assert listed(root / "cfs/data") == listed(root / "there/data")
        assert listed(root / "cfs/src") == listed(root / "there/src")


def _read_everything(store: S3Store) -> int:
    """Look at every byte of every object; how many snapshots, of runs and of their results, can be read."""
    for each in store.listing():
        if each.key[0] in "psi":
            verify(each.key, store.get(each.key))
    found = list(store.keys("s/"))
    for key in found:
        read_back(store, ref_of(key, parse_footer(key, store.get(key)).snapshot))
    return len(found)
