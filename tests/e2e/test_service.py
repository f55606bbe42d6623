"""An executor that a site runs as a service: from the certificates to results at home."""

from __future__ import annotations

import subprocess

import pytest

from support.sandbox import BIN, Sandbox, sandbox, wait_until

__all__ = ["sandbox"]
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

PROGRAM = """\
print("from the hall")
open("result/out", "w").write("made there")
"""


def test_a_project_runs_at_a_service_behind_tls(sandbox: Sandbox, unused_tcp_port: int) -> None:
    root = sandbox.project(program=PROGRAM)
    address = f"127.0.0.1:{unused_tcp_port}"
    made = sandbox.cli("executors", "certificate", "hall", "--host", "127.0.0.1", cwd=root)
    assert b"pollinator executors add hall grpcs://127.0.0.1:7443" in made.stdout, made.stderr
    # As scp would.
    half = sandbox.folder / "c/pollinator/certificates/hall/server"
    options = [f"--{each}={half}/{each}.pem" for each in ("certificate", "key", "authority")]
    state = sandbox.folder / "hall"
    command = [
        str(BIN / "pollinator-executor"),
        "local",
        "--state",
        str(state),
        "--listen",
        address,
        *options,
    ]
    with (sandbox.folder / "log").open("wb") as log:
        service = subprocess.Popen(command, env=sandbox.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        wait_until(lambda: b"listening" in (sandbox.folder / "log").read_bytes(), "it listens")

        added = sandbox.cli("executors", "add", "hall", f"grpcs://{address}", cwd=root)
        done = sandbox.cli("run", "--on", "hall", "--follow", cwd=root)

        assert 0 == added.returncode, added.stderr
        assert (0, b"from the hall\n") == (done.returncode, done.stdout), done.stderr
        assert "made there" == (root / "cfs/result/out").read_text()
    finally:
        service.terminate()
        assert 0 == service.wait(40)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--listen", "127.0.0.1:1"], "--listen needs --certificate"),
        (["--certificate", "x"], "certificates are for --listen"),
        (["--listen", "here", "--certificate", "x", "--key", "x", "--authority", "x"], "no HOST:PORT"),
        (["--listen", "h:1", "--certificate", "x", "--key", "x", "--authority", "x"], "cannot read"),
    ],
)
def test_a_service_without_certificates_does_not_start(
    sandbox: Sandbox, options: list[str], words: str
) -> None:
    command = [str(BIN / "pollinator-executor"), "local", "--state", str(sandbox.folder / "hall"), *options]

    done = subprocess.run(command, env=sandbox.env, capture_output=True, text=True, timeout=30, check=False)

    assert 2 == done.returncode
    assert words in " ".join(done.stderr.split())
