"""Executors elsewhere and buckets: they get credentials that are limited, or none at all."""

from __future__ import annotations

import pytest

from pollinator.v1.run_pb2 import StartRunRequest
from support.far import far
from support.s3_servers import S3Server
from support.sandbox import Sandbox, wait_until

__all__ = ["far"]
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

WAITS = """\
import os, time
print("it runs")
while not os.path.exists("go"):
    time.sleep(0.01)
open("result/out", "w").write("made there")
"""


def private(far: Sandbox) -> StartRunRequest:
    """What the executor keeps of its only run for itself, while it goes on."""
    (folder,) = (far.state / "executors/local/runs").iterdir()
    return StartRunRequest.FromString((folder / "private.pb").read_bytes())


def nothing_is_told(far: Sandbox, server: S3Server) -> bool:
    files = [path for path in (far.state / "executors").rglob("*") if path.is_file()]
    return bool(files) and not any(server.secret_key.encode() in path.read_bytes() for path in files)


def run_to_its_end(far: Sandbox, server: S3Server, kind: str) -> StartRunRequest:
    """Run a project, and see that the executor has this kind of store, and results come home."""
    root = far.project(program=WAITS)
    with far.start_cli("run", "--follow", cwd=root, env=server.environment()) as follower:
        assert follower.stdout is not None
        assert b"it runs\n" == follower.stdout.readline()
        seen = private(far)
        assert kind == seen.snapshot.store.WhichOneof("kind")
        assert nothing_is_told(far, server)
        (work,) = (far.state / "executors/local/runs").glob("*/work")
        (work / "go").touch()
        assert b"" == follower.communicate(timeout=60)[0]

    assert 0 == follower.returncode
    assert "made there" == (root / "cfs/result/out").read_text()
    return seen


def test_an_executor_elsewhere_gets_limited_credentials(far: Sandbox, issuing_s3: S3Server) -> None:
    seen = run_to_its_end(far, issuing_s3, "s3")

    assert seen.snapshot.store.s3.session_token
    assert not (far.state / "executors/local/store").exists()


def test_without_those_files_travel_over_the_bridge(far: Sandbox, rclone_s3: S3Server) -> None:
    run_to_its_end(far, rclone_s3, "own")


def test_new_credentials_are_handed_on_after_a_restart_of_the_daemon(
    far: Sandbox, issuing_s3: S3Server
) -> None:
    root = far.project(program=WAITS)
    with far.start_cli("run", "--follow", cwd=root, env=issuing_s3.environment()) as follower:
        assert follower.stdout is not None
        assert b"it runs\n" == follower.stdout.readline()
        before = private(far).snapshot.store.s3

        far.kill_daemon()
        far.cli("list", cwd=root)

        wait_until(lambda: private(far).snapshot.store.s3 != before, "it has new ones")
        assert nothing_is_told(far, issuing_s3)
        (work,) = (far.state / "executors/local/runs").glob("*/work")
        (work / "go").touch()
        follower.communicate(timeout=60)
    assert 0 == follower.returncode
    assert "made there" == (root / "cfs/result/out").read_text()
