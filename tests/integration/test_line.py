"""The line that tests cut is one."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from support.link import Line, line
from support.sandbox import wait_until

pytestmark = pytest.mark.integration

ECHO = """\
import socket, sys
server = socket.create_server((sys.argv[1], 7007))
print("up", flush=True)
peer, _ = server.accept()
while data := peer.recv(100):
    peer.sendall(data)
"""


def answers(peer: socket.socket, text: bytes) -> bool:
    """What is sent comes back."""
    peer.sendall(text)
    try:
        return text in peer.recv(100)
    except TimeoutError:
        return False


def test_a_line_that_is_cut_carries_nothing_until_it_is_mended() -> None:
    with line() as made:
        command = made.there(sys.executable, "-c", ECHO, made.far)
        with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
            assert server.stdout is not None
            assert b"up\n" == server.stdout.readline()
            with socket.create_connection((made.far, 7007), timeout=20) as peer:
                before = answers(peer, b"one")
                made.cut()
                peer.settimeout(0.5)
                meanwhile = answers(peer, b"two")
                made.mend()
                wait_until(lambda: answers(peer, b"."), "it answers again")
                local = peer.getsockname()[0]

        assert before
        assert not meanwhile
        assert made.near == local


def test_a_line_can_be_made_slow() -> None:
    with line() as made:
        made.limit("20mbit")
        shown = subprocess.run(made.there("tc", "qdisc", "show"), capture_output=True, text=True, check=True)

        assert "rate 20Mbit" in shown.stdout


def test_two_lines_do_not_meet() -> None:
    with line() as one, line() as other:
        assert 4 == len({one.near, one.far, other.near, other.far})
        assert isinstance(one, Line)
