"""What ssh says on its way out, as errors; and what it is called with."""

from __future__ import annotations

import asyncio
import shlex
import subprocess
from pathlib import Path

import pytest

from pollinator.daemon.reach import openssh
from pollinator.daemon.reach.openssh import PYTHONS, SILENT, Ssh, far_command
from pollinator.daemon.reach.transport import NotLoggedIn, Place
from pollinator.wire.errors import InvalidInput, Unavailable, WrongState


def place(**settings: str) -> Place:
    named = {name.replace("_", "."): text for name, text in settings.items()}
    return Place("lumi", "slurm", "ssh://ada@lumi:2222", named, "0")


@pytest.fixture
def ssh(tmp_path: Path) -> Ssh:
    return Ssh(place(), ["ssh", "-F", "x"], tmp_path / "m")


CHANGED = """\
@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @
  ssh-keygen -f "/home/ada/.ssh/known_hosts" -R "lumi"
Host key verification failed.
"""
LOGIN = "pollinator executors login lumi"


@pytest.mark.parametrize(
    ("words", "reason", "fix"),
    [
        ("ada@lumi: Permission denied (publickey,keyboard-interactive).", "login_needed", LOGIN),
        ("Received disconnect from ::1 port 22:2: Too many authentication failures", "login_needed", LOGIN),
        ("No ED25519 host key is known for lumi.\nHost key verification failed.", "host_key_unknown", LOGIN),
        (
            CHANGED,
            "host_key_changed",
            'if it is right: ssh-keygen -f "/home/ada/.ssh/known_hosts" -R "lumi"',
        ),
    ],
)
def test_what_takes_a_person_waits_for_one_with_the_command_to_type(
    ssh: Ssh, words: str, reason: str, fix: str
) -> None:
    error = ssh.error(words)

    assert isinstance(error, NotLoggedIn)
    assert (reason, fix, True) == (error.reason, error.fix, error.retryable)


@pytest.mark.parametrize(
    "words",
    [
        "ssh: Could not resolve hostname lumi: Name or service not known",
        "ssh: connect to host lumi port 22: Connection refused",
        "kex_exchange_identification: Connection closed by remote host",
        "",
    ],
)
def test_everything_else_is_a_machine_that_cannot_be_reached_in_the_words_of_ssh(
    ssh: Ssh, words: str
) -> None:
    error = ssh.error(f"a banner\n{words}\n\n" if words else "")

    assert isinstance(error, Unavailable)
    assert "host_unreachable" == error.reason
    assert (words or "no word from ssh") in error.message


def test_a_login_asks_in_the_terminal_and_the_daemon_never(ssh: Ssh) -> None:
    command = ssh.login()

    assert ["ssh", "-F", "x"] == command[:3]
    assert ["-M", "-N", "-f", "ssh://ada@lumi:2222"] == command[-4:]
    assert "BatchMode=yes" not in command


async def test_a_system_without_ssh_says_so(tmp_path: Path) -> None:
    ssh = Ssh(place(), [str(tmp_path / "no-ssh")], tmp_path / "m")

    with pytest.raises(WrongState) as caught:
        await ssh.connect(print)

    assert "ssh_missing" == caught.value.reason


def test_a_python_that_is_more_than_a_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as caught:
        Ssh(place(ssh_python="python3; rm -rf x"), ["ssh"], tmp_path / "m")

    assert "bad_setting" == caught.value.reason


@pytest.mark.parametrize("python", ["", "/opt/python/bin/python3"])
def test_what_is_run_there_is_the_same_text_to_every_shell(python: str) -> None:
    command = far_command(python)

    quoted = command.removeprefix("exec /bin/sh -c '").removesuffix("'")
    assert not set("'\n!") & set(quoted)
    assert ["exec", "/bin/sh", "-c", quoted] == shlex.split(command)


@pytest.mark.parametrize("shell", ["bash", "dash", "sh"])
def test_the_program_that_is_sent_is_run_by_a_python_that_is_new_enough(shell: str, tmp_path: Path) -> None:
    old = tmp_path / "python3.13"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    program = b"import sys; print(sys.version_info[:2] >= (3, 11), sys.stdin.read())"

    done = subprocess.run(
        [shell, "-c", far_command("")],
        env={"PATH": f"{tmp_path}:/usr/local/bin:/usr/bin:/bin", "HOME": str(tmp_path)},
        input=b"%d\n" % len(program) + program + b"the rest",
        capture_output=True,
        check=False,
    )

    assert (b"True the rest\n", b"") == (done.stdout, done.stderr)


def test_a_machine_without_such_a_python_says_what_it_has(tmp_path: Path) -> None:
    for name in PYTHONS.split():
        (tmp_path / name).write_text("#!/bin/sh\necho Python 3.6.8; exit 1\n")
        (tmp_path / name).chmod(0o755)
    for name in ("sed", "sh"):
        (tmp_path / name).symlink_to(f"/bin/{name}")

    done = subprocess.run(
        ["/bin/sh", "-c", far_command("")],
        env={"PATH": str(tmp_path), "HOME": str(tmp_path), "SHELL": "/bin/false"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )

    assert (3, b"NOPYTHON Python 3.6.8\n") == (done.returncode, done.stdout), done.stderr


ALIVE = 'pollinator:{"alive": true}'


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (f"yes '{ALIVE}'", "executor_down"),
        ("yes", "executor_down"),
        ("cat /dev/zero", "executor_down"),
        ("sleep 60", SILENT),
    ],
    ids=["alive_for_ever", "noise_for_ever", "a_line_without_end", "nothing"],
)
async def test_a_far_side_that_never_answers_is_given_up_whatever_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, reason: str
) -> None:
    monkeypatch.setattr(openssh, "DONE_S", 3.0)
    monkeypatch.setattr(openssh, "WORD_S", 1.5)
    ssh = tmp_path / "ssh"
    ssh.write_text(f"#!/bin/sh\nexec {words}\n")
    ssh.chmod(0o755)

    with pytest.raises(Unavailable) as caught:
        async with (
            asyncio.timeout(20),
            Ssh(place(), [str(ssh)], tmp_path / "m").conversation("", print) as talk,
        ):
            await talk.ask({"op": "look"})

    assert reason == caught.value.reason
    assert caught.value.hint
