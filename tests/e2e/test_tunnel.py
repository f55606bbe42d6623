"""A port of this machine that leads to the node where a run is."""

from __future__ import annotations

import os
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.sandbox import Sandbox, sandbox, wait_until
from support.scripted_s3 import unused_port
from support.sshd import Site, site

__all__ = ["sandbox"]
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

SERVES = """\
import http.server, os, socket
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"from the node")
        if self.path == "/end":
            self.server.done = True
    def log_message(self, *args): pass
with http.server.HTTPServer((socket.gethostname(), int(os.environ["PORT"])), Page) as server:
    server.done = False
    print("serving", flush=True)
    while not server.done:
        server.handle_request()
"""


@pytest.fixture(scope="module")
def jump() -> Iterator[Site]:
    with site() as made:
        yield made


def project(sandbox: Sandbox, jump: Site) -> tuple[Path, int]:
    """A project whose run serves a page on a port of its node, and the port that shall lead there."""
    near, far = unused_port(), unused_port()
    root = sandbox.project(program=SERVES)
    with (root / "project.yaml").open("a") as file:
        file.write(
            f"tunnel:\n  user: {jump.user}\n  jumpHost: {jump.host}\n  jumpHostPort: {jump.port}\n"
            f"  localPort: {near}\n  remotePort: {far}\n"
        )
    sandbox.env |= {"POLLINATOR_SSH_COMMAND": jump.command, "PORT": str(far)}
    return root, near


def answers(port: int, path: str = "/") -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as page:
            return str(page.read().decode())
    except (urllib.error.URLError, OSError):
        return ""


def test_a_page_on_the_node_is_seen_here_as_long_as_the_run_is_followed(sandbox: Sandbox, jump: Site) -> None:
    jump.trust()
    root, near = project(sandbox, jump)
    with sandbox.start_cli("run", "--follow", "--env", "PORT", cwd=root) as follower:
        wait_until(lambda: answers(near) == "from the node", "the page is there", 40)
        assert "from the node" == answers(near, "/end")
        output, said = follower.communicate(timeout=60)

    assert (0, b"serving\n") == (follower.returncode, output), said
    assert f"http://localhost:{near}".encode() in said
    assert "" == answers(near)


def test_a_host_that_nobody_knows_is_not_trusted_and_the_run_goes_on(sandbox: Sandbox, jump: Site) -> None:
    jump.forget_host_key()
    root, near = project(sandbox, jump)
    with sandbox.start_cli("run", "--follow", "--env", "PORT", cwd=root) as follower:
        assert follower.stderr is not None
        said = b""
        while b"cannot be opened" not in said and (more := os.read(follower.stderr.fileno(), 4096)):
            said += more
        follower.send_signal(signal.SIGINT)
        follower.communicate(timeout=60)
    running = sandbox.cli("list", "--active", cwd=root)
    sandbox.cli("cancel", "latest", cwd=root)

    assert b"the tunnel cannot be opened" in said
    assert "" == answers(near)
    assert b"running" in running.stdout.lower()
