"""How a tunnel is opened: nothing of it is open to others, and nothing in it is taken for an option."""

from __future__ import annotations

import pytest

from pollinator.cli.tunnel import missing, ssh_command
from pollinator.v1.spec_pb2 import Tunnel

TUNNEL = Tunnel(
    user="ada", jump_host="login", jump_host_port=2222, ssh_key="/k", local_port=8888, remote_port=80
)


def test_the_port_is_open_to_this_machine_alone() -> None:
    command = ssh_command(["ssh"], TUNNEL, "n1")

    assert "127.0.0.1:8888:n1:80" == command[command.index("-L") + 1]
    assert not {"-g", "-o", "StrictHostKeyChecking=no"} & {*command} - {"-o"}


def test_what_was_asked_for_is_handed_on_and_the_host_comes_after_all_options() -> None:
    command = ssh_command(["ssh", "-F", "config"], TUNNEL, "n1")

    assert ["ssh", "-F", "config"] == command[:3]
    assert ["-l", "ada", "-p", "2222", "-i", "/k", "--", "login"] == command[-8:]


def test_what_was_not_said_is_left_to_the_configuration_of_ssh() -> None:
    command = ssh_command(["ssh"], Tunnel(jump_host="-oProxyCommand=x", local_port=1, remote_port=2), "n1")

    assert not {"-l", "-p", "-i"} & {*command}
    assert ["--", "-oProxyCommand=x"] == command[-2:]


@pytest.mark.parametrize("key", ["jump_host", "local_port", "remote_port"])
def test_a_tunnel_that_leads_nowhere_is_told_by_what_it_lacks(key: str) -> None:
    tunnel = Tunnel()
    tunnel.CopyFrom(TUNNEL)
    tunnel.ClearField(key)  # type: ignore[arg-type] # one of its names

    assert 1 == len(missing(tunnel))
    assert [] == missing(TUNNEL)
