"""The whole path through a bucket: as on one machine, with the store elsewhere."""

from __future__ import annotations

import json
import os
import secrets
import socket
import stat
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pollinator.executors.conformance.trees import random_bytes
from support.s3_servers import Certificate, S3Server
from support.sandbox import Sandbox, sandbox, wait_until

__all__ = ["sandbox"]
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

MIB = 1024 * 1024
PROGRAM = """\
import os
with open(os.environ["POLLINATOR_RESULT"] + "/r.txt", "w") as file:
    file.write(open("src/n").read())
"""


@pytest.fixture(params=["rclone_s3", "ceph_s3"])
def server(request: pytest.FixtureRequest) -> S3Server:
    """Each server in turn."""
    found: S3Server = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def root(sandbox: Sandbox) -> Path:
    """A project whose result is what is in src/n. Its name is that of the sandbox, for all share a bucket."""
    made = sandbox.project(sandbox.folder.name, program=PROGRAM)
    (made / "cfs/src/n").write_text("first")
    return made


def prefix_of(root: Path) -> str:
    """Where a project's objects are; its name is that in project.yaml."""
    lines = (root / "project.yaml").read_text().splitlines()
    name = next(line.split()[1] for line in lines if line.startswith("projectname:"))
    return f"pollinator/{name}/"


def objects(server: S3Server, root: Path) -> dict[str, int]:
    """Kinds of the project's objects in the bucket, p for packs and s for snapshots, and their bytes."""
    totals: dict[str, int] = {}
    for key, size in server.objects(prefix_of(root)).items():
        kind = key.removeprefix(prefix_of(root))[0]
        if kind in "psi":  # the others say who needs these, and are written in the background
            totals[kind] = totals.get(kind, 0) + size
    return totals


def project_state(sandbox: Sandbox, root: Path) -> dict[str, Any]:
    """What ``pollinator status --json`` says about the project."""
    status = json.loads(sandbox.cli("status", "--json", cwd=root).stdout)
    found: dict[str, Any] = next(each for each in status["projects"] if each["root"] == str(root))
    return found


def save_large(root: Path, size: int) -> None:
    """Save a file at once, so that no half of it is ever seen."""
    (root / "large").write_bytes(random_bytes(size))
    (root / "large").rename(root / "cfs/data/large")


def run(sandbox: Sandbox, root: Path, env: Mapping[str, str]) -> str:
    """Run the project; its result."""
    ended = sandbox.cli("run", "--follow", cwd=root, env=env)

    assert 0 == ended.returncode, ended.stderr
    return (root / "cfs/result/r.txt").read_text()


# The path


@pytest.mark.parametrize("name", ["rclone_s3", "ceph_s3", "ceph_s3_tls"])
def test_the_sample_runs_through_a_bucket(
    sandbox: Sandbox, request: pytest.FixtureRequest, name: str
) -> None:
    server: S3Server = request.getfixturevalue(name)
    assert 0 == sandbox.cli("new", "demo", cwd=sandbox.folder).returncode
    root = sandbox.folder / "demo"

    ended = sandbox.cli("run", "--follow", cwd=root, env=server.environment())

    assert 0 == ended.returncode, ended.stderr
    assert f"Hello from {socket.gethostname()}\n".encode() in ended.stdout
    assert "HELLO WORLD!\n" == (root / "cfs/result/result.txt").read_text()
    assert set(objects(server, root)) <= {"s", "p"}, "all of it is so small that no index is needed"
    assert not (sandbox.state / "store").exists(), "nothing went into the embedded store"


def test_what_is_saved_is_in_the_bucket_before_a_run_which_then_uploads_little(
    sandbox: Sandbox, root: Path, server: S3Server
) -> None:
    env = server.environment()
    assert "first" == run(sandbox, root, env)
    save_large(root, 3 * MIB)
    server.wait_for_bytes(f"{prefix_of(root)}p/", 3 * MIB)
    before = objects(server, root)
    assert {"p", "s"} == set(before)
    assert 3 * MIB < before["p"] < 4 * MIB

    (root / "cfs/src/n").write_text("second")
    assert "second" == run(sandbox, root, env)

    after = objects(server, root)
    assert before["p"] == after["p"]
    assert after["s"] - before["s"] < 4000


def test_sync_says_what_it_took(sandbox: Sandbox, root: Path, server: S3Server) -> None:
    env = server.environment()
    keys = ["files", "bytes", "chunks", "bytes_uploaded", "requests", "seconds", "snapshot"]

    first, second = (json.loads(sandbox.cli("sync", "--json", cwd=root, env=env).stdout) for _ in range(2))

    assert keys == list(first)
    assert (2, len(PROGRAM) + len("first")) == (first["files"], first["bytes"])
    assert first["requests"] <= 2, "the snapshot, and perhaps a look at what is to be removed"
    assert {"s": first["bytes_uploaded"]} == objects(server, root)
    assert (0, 0, first["snapshot"]) == (second["requests"], second["bytes_uploaded"], second["snapshot"])


# Changes of the store


def test_a_project_moves_from_the_embedded_store_to_a_bucket(
    sandbox: Sandbox, root: Path, rclone_s3: S3Server
) -> None:
    assert "first" == run(sandbox, root, {})
    earlier = str(sandbox.show("latest", root)["id"])
    (root / "cfs/src/n").write_text("second")

    assert "second" == run(sandbox, root, rclone_s3.environment())

    assert {"s"} == set(objects(rclone_s3, root))
    assert project_state(sandbox, root)["store"].startswith(f"s3:{rclone_s3.endpoint}/{rclone_s3.bucket}/")
    for name, words in ((earlier, "first"), ("latest", "second")):
        target = root.parent / words
        checked = sandbox.cli("checkout", name, str(target), cwd=root)
        assert 0 == checked.returncode, checked.stderr
        assert words == (target / "src/n").read_text()


def test_a_project_keeps_its_store_until_a_command_names_another(
    sandbox: Sandbox, root: Path, rclone_s3: S3Server
) -> None:
    run(sandbox, root, rclone_s3.environment())
    bucket = project_state(sandbox, root)["store"]

    run(sandbox, root, {})
    kept = project_state(sandbox, root)["store"]
    run(sandbox, root, {"POLLINATOR_STORE": "folder"})

    assert bucket == kept
    assert project_state(sandbox, root)["store"].startswith("folder:")


def test_a_daemon_that_starts_again_keeps_the_store_and_its_keys(
    sandbox: Sandbox, root: Path, ceph_s3: S3Server
) -> None:
    run(sandbox, root, ceph_s3.environment())
    sandbox.kill_daemon()

    # From here on no command has the variables.
    assert 0 == sandbox.cli("daemon", "start", cwd=root).returncode
    save_large(root, MIB)
    ceph_s3.wait_for_bytes(f"{prefix_of(root)}p/", MIB)

    assert 0 == sandbox.cli("rerun", "latest", "--follow", cwd=root).returncode
    assert 0 == sandbox.cli("pull", "latest", "there", cwd=root).returncode
    assert "first" == (root / "there/r.txt").read_text()


# Refusals


def test_a_key_that_was_wrong_and_is_set_right_is_used_at_once(
    sandbox: Sandbox, root: Path, ceph_s3: S3Server
) -> None:
    right = ceph_s3.environment()
    wrong = right | {"AWS_S3_SECRETKEY": "wrong-wrong-wrong"}

    refused = sandbox.cli("sync", cwd=root, env=wrong)
    synced = sandbox.cli("sync", cwd=root, env=right)
    (root / "cfs/src/n").write_text("second")
    refused_again = sandbox.cli("sync", cwd=root, env=wrong)

    assert b"AWS_S3_SECRETKEY" in refused.stderr
    assert 0 == synced.returncode, synced.stderr
    assert (refused.returncode, refused.stderr) == (refused_again.returncode, refused_again.stderr)
    assert refused.returncode not in (0, 1)
    assert b"wrong-wrong-wrong" not in refused.stderr


def test_a_missing_bucket_is_an_error_with_the_command_that_makes_it(
    sandbox: Sandbox, root: Path, rclone_s3: S3Server
) -> None:
    bucket = f"none-{secrets.token_hex(4)}"
    env = rclone_s3.environment() | {"AWS_S3_BUCKET": bucket}

    ended = sandbox.cli("run", "--follow", cwd=root, env=env)

    assert 0 != ended.returncode
    assert f"aws s3 mb s3://{bucket} --endpoint-url {rclone_s3.endpoint}" in ended.stderr.decode()
    assert "snapshot" == sandbox.reason("latest", root)
    rclone_s3.make_bucket(bucket)
    assert "first" == run(sandbox, root, env)


def test_an_authority_of_ones_own_is_trusted_by_everybody_who_uses_the_store(
    sandbox: Sandbox, root: Path, ceph_s3_tls: S3Server, certificate: Certificate
) -> None:
    # Neither the daemon nor the executor has the variable.
    assert 0 == sandbox.cli("daemon", "start", cwd=root).returncode
    env = ceph_s3_tls.environment() | {"AWS_S3_SKIPVERIFY": "false"}
    refused = sandbox.cli("sync", cwd=root, env=env)

    assert b"AWS_CA_BUNDLE" in refused.stderr
    assert "first" == run(sandbox, root, env | {"AWS_CA_BUNDLE": str(certificate.certificate)})


# Outages


@contextmanager
def away(sandbox: Sandbox, root: Path, server: S3Server, point: str) -> Generator[None]:
    """A run whose daemon died at this point. The next one goes on and finds no store."""
    crash = {"POLLINATOR_CRASH_AT": f"{point}@{sandbox.folder}"}
    assert 0 == sandbox.cli("daemon", "start", cwd=root, env=crash).returncode
    env = server.environment() | {"POLLINATOR_NO_AUTOSTART": "1"}
    with sandbox.start_cli("run", cwd=root, env=env) as client:
        wait_until(lambda: not sandbox.daemon_pid(), "the daemon is dead")
        client.kill()
    server.stop()
    try:
        assert 0 == sandbox.cli("daemon", "start", cwd=root).returncode
        logs = [sandbox.state / "log/daemon.log", sandbox.state / "executors/local/executor.log"]
        wait_until(lambda: any(" for the store: " in log.read_text() for log in logs), "somebody waits")
        yield
    finally:
        server.start()


@pytest.mark.parametrize("point", ["after_seal_recorded", "before_results"])
def test_a_run_waits_for_a_store_that_is_away(
    sandbox: Sandbox, root: Path, rclone_s3: S3Server, point: str
) -> None:
    with away(sandbox, root, rclone_s3, point):
        pass

    ended = sandbox.cli("wait", "latest", cwd=root)

    assert 0 == ended.returncode, ended.stderr
    assert "first" == (root / "cfs/result/r.txt").read_text()


def test_a_run_that_waits_for_its_store_can_be_cancelled(
    sandbox: Sandbox, root: Path, rclone_s3: S3Server
) -> None:
    with away(sandbox, root, rclone_s3, "after_seal_recorded"):
        cancelled = sandbox.cli("cancel", "latest", cwd=root)
        ended = sandbox.cli("wait", "latest", cwd=root)

    assert 0 == cancelled.returncode, cancelled.stderr
    assert 103 == ended.returncode, ended.stderr
    assert "cancelled" == sandbox.show("latest", root)["state"]


# Secrets


def holders(sandbox: Sandbox, secret: bytes) -> dict[Path, int]:
    """Files that hold it, and their modes."""
    found: dict[Path, int] = {}
    for path in sandbox.folder.rglob("*"):
        if path.is_file() and secret in path.read_bytes():
            found[path] = stat.S_IMODE(path.stat().st_mode)
    return found


def test_the_secret_key_is_in_one_private_file_and_nowhere_else(
    sandbox: Sandbox, root: Path, ceph_s3: S3Server
) -> None:
    env = ceph_s3.environment() | {"POLLINATOR_VERBOSE": "1"}
    secret = ceph_s3.secret_key.encode()
    (root / "cfs/src/main.py").write_text(
        "import os, time\nprint(sorted(os.environ.items()))\n"
        "while not os.path.exists('../go'): time.sleep(0.02)\n"
    )
    with sandbox.start_cli("run", "--follow", cwd=root, env=env) as follower:
        assert follower.stdout is not None
        seen_by_job = follower.stdout.readline()
        called = sandbox.command_lines()
        meanwhile = holders(sandbox, secret)
        run_id = str(sandbox.show("latest", root)["id"])
        (sandbox.state / "executors/local/runs" / run_id / "go").touch()
        output, messages = follower.communicate(timeout=30)
    doctor = sandbox.cli("doctor", "--json", cwd=root, env=env)
    status = sandbox.cli("status", "--json", cwd=root, env=env)

    assert (0, b"") == (follower.returncode, output), messages
    assert any(b"pollinator.executors" in each for each in called), "the executor was looked at"
    for text in (seen_by_job, messages, doctor.stdout, status.stdout, *called):
        assert secret not in text
    assert {0o600} == set(meanwhile.values())
    assert [(sandbox.state / "stores", 0o600)] == [
        (path.parent, mode) for path, mode in holders(sandbox, secret).items()
    ]
    assert 0o700 == stat.S_IMODE(os.stat(sandbox.state / "stores").st_mode)
