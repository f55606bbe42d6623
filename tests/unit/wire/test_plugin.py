"""Programs that give tokens: what they are told, and what is said when they refuse, hang or talk nonsense."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pollinator.wire import plugin
from pollinator.wire.errors import InvalidInput, NeedsLogin
from pollinator.wire.kubeconfig import Context, find_context
from support.kubeconfigs import CONTEXT, VERSION, asked, program, written
from support.sandbox import gone, wait_until
from support.scripted_executor import until

TOKEN = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZGEifQ.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"


def context(tmp_path: Path, user: dict[str, Any], cluster: dict[str, Any] | None = None) -> Context:
    return find_context([written(tmp_path / "config", "https://lab:6443", user, cluster)], "")


async def answer(tmp_path: Path, text: str, limit_s: float = 30.0, **more: Any) -> Any:
    user = program(tmp_path / "give-token", text, **more)
    return await plugin.ask(context(tmp_path, user), os.environ, limit_s=limit_s)


async def refusal(tmp_path: Path, text: str, limit_s: float = 30.0, **more: Any) -> NeedsLogin:
    with pytest.raises(NeedsLogin) as caught:
        await answer(tmp_path, text, limit_s, **more)
    assert "kubernetes_login" == caught.value.reason
    assert TOKEN not in f"{caught.value.message} {caught.value.hint} {caught.value.__cause__!r}"
    return caught.value


def living(group: str) -> list[str]:
    """States of the processes of a group, but for those that only wait to be reaped."""
    told = subprocess.run(["ps", "-o", "stat=", "-g", group], capture_output=True, text=True, check=False)
    return [each for each in told.stdout.split() if not each.startswith("Z")]


async def test_a_program_gives_a_token(tmp_path: Path) -> None:
    text = "give(token=sys.argv[1] + os.environ['WHO'] + os.environ['HOME'][:0])"

    found = await answer(tmp_path, text, args=["for-"], env=[{"name": "WHO", "value": "ada"}])

    assert {"token": "for-ada"} == found
    [told] = asked(tmp_path / "give-token")
    assert (VERSION, {"interactive": False}) == (told["apiVersion"], told["spec"])


async def test_a_program_beside_the_file_is_found_there_and_told_of_the_cluster(tmp_path: Path) -> None:
    user = program(tmp_path / "bin/give", "give(token='t')", provideClusterInfo=True)
    user["exec"]["command"] = "./bin/give"
    extension = {"name": "client.authentication.k8s.io/exec", "extension": {"audience": "x"}}
    cluster = {"tls-server-name": "k", "extensions": [{"name": "other", "extension": 1}, extension]}

    assert {"token": "t"} == await plugin.ask(context(tmp_path, user, cluster), os.environ)

    [told] = asked(tmp_path / "bin/give")
    assert {"server": "https://lab:6443", "tls-server-name": "k", "config": {"audience": "x"}} == told[
        "spec"
    ]["cluster"]


async def test_one_that_refuses_is_quoted_without_tokens(tmp_path: Path) -> None:
    error = await refusal(tmp_path, f"print({TOKEN!r}); sys.exit('session of ada is over: ' + {TOKEN!r})")

    assert "ended with 1: session of ada is over:" in error.message
    assert f"kubectl --context {CONTEXT} version" == error.hint


@pytest.mark.parametrize("text", ["time.sleep(600)", "subprocess.run(['sleep', '600'])"])
async def test_one_that_hangs_is_ended_with_all_that_it_has_started(tmp_path: Path, text: str) -> None:
    error = await refusal(tmp_path, f"(here / 'pid').write_text(str(os.getpid())); {text}", 2.0)

    assert "gave no answer for 2 s and was ended" in error.message
    wait_until(lambda: not living((tmp_path / "pid").read_text()), "nothing of it lives")


@pytest.mark.parametrize("to", ["subprocess.DEVNULL", "None"])
async def test_what_it_leaves_running_is_ended_as_well_and_not_waited_for(tmp_path: Path, to: str) -> None:
    text = f"subprocess.Popen(['sleep', '600'], stdout={to}, stderr={to})\n"
    text += "(here / 'pid').write_text(str(os.getpid()))\ngive(token='t')"

    assert {"token": "t"} == await answer(tmp_path, text)

    wait_until(lambda: not living((tmp_path / "pid").read_text()), "nothing of it lives")


async def test_one_that_hangs_is_not_waited_for_because_of_what_it_has_let_go(tmp_path: Path) -> None:
    text = "left = subprocess.Popen(['sleep', '60'], start_new_session=True)\n"
    text += "(here / 'left').write_text(str(left.pid))\ntime.sleep(600)"
    try:
        async with asyncio.timeout(30):
            assert "gave no answer for 2 s" in (await refusal(tmp_path, text, limit_s=2.0)).message
    finally:
        os.kill(int((tmp_path / "left").read_text()), signal.SIGKILL)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"print({TOKEN!r})", "does not answer as a plugin of kubectl does"),
        ("print('[1]')", "does not answer as a plugin of kubectl does"),
        ("version = 'client.authentication.k8s.io/v1beta1'; give(token='t')", "and 'client.auth"),
        ("give()", "gives neither a token nor a certificate"),
        ("give(token='')", "gives neither a token nor a certificate"),
        (f"give(token={TOKEN!r}, more='x' * 3_000_000)", "does not answer as a plugin of kubectl does"),
    ],
)
async def test_one_that_talks_nonsense(tmp_path: Path, text: str, words: str) -> None:
    assert words in (await refusal(tmp_path, text)).message


async def test_one_that_is_missing_says_how_to_install_it(tmp_path: Path) -> None:
    user = {"exec": {"apiVersion": VERSION, "command": "no-such-program", "installHint": "get it at example"}}

    with pytest.raises(NeedsLogin) as caught:
        await plugin.ask(context(tmp_path, user), os.environ)

    assert "no-such-program cannot be run: No such file or directory" in caught.value.message
    assert "get it at example" == caught.value.hint


async def test_one_that_asks_each_time_is_not_run(tmp_path: Path) -> None:
    error = await refusal(tmp_path, "give(token='t')", interactiveMode="Always")

    assert "asks somebody each time" in error.message
    assert [] == asked(tmp_path / "give-token")


@pytest.mark.parametrize(
    "wrong",
    [{"command": ""}, {"command": None}, {"args": "x"}, {"apiVersion": "v1alpha1"}, {"apiVersion": None}],
)
async def test_one_that_cannot_be_meant(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match=r"the user of context lab in .*config cannot be meant"):
        await answer(tmp_path, "give(token='t')", **wrong)


def test_the_program_for_a_terminal_asks_there_and_does_not_show_the_token(tmp_path: Path) -> None:
    text = "print(sys.argv[1], os.environ['WHO'], file=sys.stderr); give(token='never-shown')"
    user = program(tmp_path / "give-token", text, args=["a b"], env=[{"name": "WHO", "value": "secret-ada"}])
    here = tmp_path / "here"
    here.mkdir()
    (here / "json.py").write_text("raise SystemExit('of the folder where the user is')")

    command = plugin.login_of(context(tmp_path, user))
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=here)

    assert ("", "a b secret-ada\n") == (done.stdout, done.stderr)
    # It is shown to whoever lists executors, or processes.
    assert "secret-ada" not in " ".join(command)
    [told] = asked(tmp_path / "give-token")
    assert told["spec"] == {"interactive": True}


@pytest.mark.parametrize(("user", "words"), [({}, "no program to log in with"), (None, "No such file")])
def test_a_program_for_a_terminal_that_cannot_be_run_says_why(
    tmp_path: Path, user: dict[str, Any] | None, words: str
) -> None:
    known = program(tmp_path / "give-token", "")
    command = plugin.login_of(context(tmp_path, known))
    (tmp_path / "give-token").unlink()
    context(tmp_path, known if user is None else user)
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert 1 == done.returncode
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_without_a_program_there_is_none(tmp_path: Path) -> None:
    assert [] == plugin.login_of(context(tmp_path, {"token": json.dumps("t")}))


async def test_who_stops_while_a_program_starts_does_not_wait_for_what_it_leaves(tmp_path: Path) -> None:
    path = tmp_path / "give-token"
    path.write_text(f"#!/bin/sh\nsleep 60 & echo $! >> {tmp_path}/pids; wait\n")
    path.chmod(0o700)
    user = {"exec": {"apiVersion": VERSION, "command": str(path), "interactiveMode": "Never"}}
    found = context(tmp_path, user)

    # Programs start in a few turns of the loop. Each of them is one to be stopped in.
    for turns in range(30):
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            asking = group.create_task(plugin.ask(found, os.environ))
            for _ in range(turns):
                await asyncio.sleep(0)
            asking.cancel()
    pids = (tmp_path / "pids").read_text().split() if (tmp_path / "pids").exists() else []
    await until(lambda: all(gone(int(pid)) for pid in pids), "all are ended")
