"""Ways to a machine behind ssh that users have in their configuration, and accounts that are not root's."""

from __future__ import annotations

import os
import pwd
import subprocess
import time
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import pytest

from pollinator.daemon.reach import openssh
from pollinator.daemon.reach.openssh import Ssh
from pollinator.daemon.reach.transport import Place
from pollinator.daemon.registry import Registry
from pollinator.wire.errors import Unavailable
from support.link import line
from support.people import ordinary_user
from support.sshd import Site, site

__all__ = ["ordinary_user"]
pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def machine() -> Iterator[Site]:
    with site() as made:
        yield made


@pytest.fixture
async def far(machine: Site) -> AsyncGenerator[Site]:
    config = machine.client.read_text()
    yield machine
    machine.client.write_text(config)
    machine.cut()
    machine.end_all()


def ssh_to(far: Site, address: str, folder: Path) -> Ssh:
    place = Place("there", "local", address, {}, "0")
    return Ssh(place, far.command.split(), folder / "m")


def by_hand(far: Site, *options: str) -> int:
    """What the user types."""
    command = [*far.command.split(), *options, far.address]
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False
    ).returncode


async def home(ssh: Ssh) -> str:
    """What a program there sees."""
    told: list[str] = []
    program = "import json, os; print('pollinator:' + json.dumps({'step': os.environ['HOME']})); input()"
    program += "; print('pollinator:' + json.dumps({'result': {}}))"
    await ssh.connect(told.append)
    async with ssh.conversation(program, told.append) as talk:
        await talk.ask({})
    await ssh.disconnect()
    return told[-1]


async def test_a_name_of_the_users_configuration_leads_through_its_jump_host(
    far: Site, tmp_path: Path
) -> None:
    far.client.write_text(
        f"Host inner\n    HostName 127.0.0.1\n    Port {far.port}\n    User {far.user}\n    ProxyJump outer\n"
        f"Host outer\n    HostName 127.0.0.1\n    Port {far.port}\n    User {far.user}\n"
        + far.client.read_text()
    )

    before = far.logins()

    there = await home(ssh_to(far, "ssh://inner", tmp_path))

    assert str(far.home) == there
    assert before + 2 == far.logins()


async def test_a_connection_that_the_user_shares_is_used_and_left_open(far: Site, tmp_path: Path) -> None:
    control = tmp_path / "users"
    far.client.write_text(f"Host *\n    ControlPath {control}\n" + far.client.read_text())
    assert 0 == by_hand(far, "-M", "-N", "-f", "-o", "ControlPersist=no")
    far.lock_out()
    try:
        there = await home(ssh_to(far, far.address, tmp_path))
        still = by_hand(far, "-O", "check")
    finally:
        far.let_in()

    assert str(far.home) == there
    assert 0 == still


async def test_what_a_login_prints_is_not_taken_for_an_answer(far: Site, tmp_path: Path) -> None:
    (far.home / ".bashrc").write_text("echo Welcome to the machine\n")
    (far.home / ".profile").write_text("echo pollinator: welcome\n")

    there = await home(ssh_to(far, far.address, tmp_path))

    assert str(far.home) == there


async def test_an_ordinary_account_is_enough(ordinary_user: str, tmp_path: Path) -> None:
    with site(user=ordinary_user) as far:
        registry = Registry(tmp_path, far.command.split())
        link = registry.add("there", far.address, "local", {})
        told: list[str] = []

        found = await link.connect(told.append)

        owners = {os.stat(f"/proc/{pid}").st_uid for pid in far.pids_of("pollinator.executors.main")}
        assert found.healthy, told
        assert {pwd.getpwnam(ordinary_user).pw_uid} == owners
        assert "" == await registry.remove("there", busy=False)
        assert [] == far.pids_of("pollinator.executors.main")
        await registry.close()


async def test_a_silent_connection_is_noticed_at_once_and_kept_until_another_is_to_be_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openssh, "WORD_S", 1.0)
    told: list[str] = []
    with line() as way, site(line=way) as far:
        ssh = ssh_to(far, far.address, tmp_path)
        await ssh.connect(told.append)
        way.cut()
        began = time.monotonic()
        with pytest.raises(Unavailable) as silent:
            async with ssh.conversation("", told.append) as talk:
                await talk.ask({})
        took_s = time.monotonic() - began
        with pytest.raises(Unavailable) as away:
            await ssh.replace(told.append)
        kept = by_hand(far, "-S", str(tmp_path / "m"), "-O", "check")
        way.mend()
        await ssh.replace(told.append)
        await ssh.disconnect()
        logins = far.logins()

    assert (openssh.SILENT, "host_unreachable") == (silent.value.reason, away.value.reason)
    assert took_s < 10
    assert 0 == kept
    # The one that was cut, the trial, and the one in its place.
    assert 3 == logins
