"""``pollinator dev`` on a terminal: its keys, and the terminal as it was afterwards."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pexpect
import pytest

from support.looping import STAYS, runs, save, states
from support.sandbox import BIN, Sandbox, sandbox, wait_until

__all__ = ["sandbox"]
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]


def at_terminal(sandbox: Sandbox, root: Path, *words: str) -> pexpect.spawn[str]:
    """The loop on a terminal, where keys can be pressed."""
    made: pexpect.spawn[str] = pexpect.spawn(
        str(BIN / "pollinator"),
        ["dev", *words],
        cwd=str(root),
        env={**sandbox.env, "TERM": "xterm", "NO_COLOR": "1"},
        dimensions=(24, 80),
        encoding="utf-8",
        timeout=60,
    )
    return made


def test_keys_run_again_cancel_and_quit(sandbox: Sandbox) -> None:
    root = sandbox.project(program=STAYS.format(version=1))
    child = at_terminal(sandbox, root)
    child.expect(r"r run again  c cancel .* q quit")
    child.expect("version 1")
    child.send("x")
    child.send("r")
    child.expect("superseded after")
    child.expect(r"--- [\d:]+  run 2 on local  once more -+\r")
    child.expect("version 1")
    child.send("c")
    child.expect("cancelled after")
    child.expect("Waiting for a save")
    child.send("?")
    child.expect("r run again")
    save(root / "cfs/src/main.py", "print('version 2', end='')\n")
    child.expect("version 2\r\nexit 0 after")
    child.send("d")
    child.expect(r"\+print\('version 2', end=''\)")
    child.send("q")
    child.expect(pexpect.EOF)
    child.close()

    assert 0 == child.exitstatus
    assert ["succeeded", "cancelled", "cancelled"] == states(sandbox, root)


def test_who_quits_lets_the_run_go_and_a_capital_letter_ends_it(sandbox: Sandbox) -> None:
    root = sandbox.project(program=STAYS.format(version=1))
    for key, end, state in (("q", "Detached; the run goes on", "running"), ("Q", "", "cancelled")):
        child = at_terminal(sandbox, root)
        child.expect("version 1")
        child.send(key)
        child.expect(end or pexpect.EOF)
        child.expect(pexpect.EOF)
        child.close()

        assert 0 == child.exitstatus
        newest = runs(sandbox, root)[0]["id"]
        if state == "cancelled":
            sandbox.cli("wait", newest, cwd=root)
        assert state == sandbox.show(newest, root)["state"]


def a_shell(sandbox: Sandbox, root: Path) -> pexpect.spawn[str]:
    """What a user calls the loop from."""
    return pexpect.spawn(
        "/bin/sh",
        cwd=str(root),
        env={**sandbox.env, "TERM": "xterm", "NO_COLOR": "1", "PS1": "$ "},
        dimensions=(24, 200),
        encoding="utf-8",
        timeout=60,
    )


@pytest.mark.parametrize("end", ["q", "INT", "TERM"])
def test_the_terminal_is_given_back_as_it_was(sandbox: Sandbox, end: str) -> None:
    root = sandbox.project()
    shell = a_shell(sandbox, root)
    shell.sendline(f"{BIN / 'pollinator'} dev; stty -a")
    shell.expect("exit 0 after")
    shell.expect("Waiting for a save")
    if end == "q":
        shell.send(end)
    else:
        [loop] = [pid for pid in sandbox.pids_of("dev") if pid != shell.pid]
        os.kill(loop, getattr(signal, f"SIG{end}"))
    shell.expect("speed ")
    shell.sendline("exit")
    shell.expect(pexpect.EOF)
    shell.close()

    assert {"icanon", "echo", "isig"} <= set(re.split(r"[\s;]+", str(shell.before)))


def test_the_terminal_is_given_back_also_by_a_loop_that_nobody_reads(sandbox: Sandbox) -> None:
    root = sandbox.project(program="print('x' * 1_000_000)\n")
    shell = a_shell(sandbox, root)
    shell.sendline(f"( {BIN / 'pollinator'} dev; stty -a >&2 ) | sleep 600")
    shell.expect("run 1 on local")
    newest = runs(sandbox, root)[0]["id"]
    wait_until(lambda: sandbox.show(newest, root)["state"] == "succeeded", "all is printed")
    [loop] = [pid for pid in sandbox.pids_of("dev") if pid != shell.pid]
    wait_until(lambda: interrupted(loop), "it has ended")
    shell.expect("speed .*echoke")
    flags = str(shell.after)
    shell.sendintr()
    shell.sendline("exit")
    shell.expect(pexpect.EOF)
    shell.close()

    assert {"icanon", "echo", "isig"} <= set(re.split(r"[\s;]+", flags))


def interrupted(pid: int) -> bool:
    """Press Ctrl-C for a process alone; true when there is none any more."""
    try:
        os.kill(pid, signal.SIGINT)
    except ProcessLookupError:
        return True
    return False


def test_another_executor_is_chosen_by_its_number(sandbox: Sandbox) -> None:
    root = sandbox.project()
    place = sandbox.folder / "other"
    place.mkdir()
    added = sandbox.cli("executors", "add", "other", f"local:{place}", "--kind", "local", cwd=root)
    assert 0 == added.returncode, added.stderr
    child = at_terminal(sandbox, root)
    child.expect("run 1 on local")
    child.expect("exit 0")
    child.send("e")
    child.expect(r" \*(\d)  local\r\n")
    child.send(child.match.group(1) if isinstance(child.match, re.Match) else "")
    child.expect("Runs go where they went")
    child.send("e")
    child.expect(r" \*\d  local\r\n")
    child.expect(r"(\d)  other  local\r\n")
    number = child.match.group(1) if isinstance(child.match, re.Match) else ""
    child.expect("Press a number")
    child.send(number)
    child.expect("run 2 on other")
    child.expect("exit 0")
    child.sendintr()
    child.expect(pexpect.EOF)
    child.close()

    assert 130 == child.exitstatus
