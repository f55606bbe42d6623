"""Runs on a machine behind ssh, from a fresh home, and what becomes of them when the way there is cut."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.elsewhere import add, counted, counting_project, log_in_at, shown
from support.sandbox import Sandbox, sandbox, wait_until
from support.sshd import Site, site

__all__ = ["sandbox"]
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

EXECUTOR = "pollinator.executors.main"
PRINTS_HOME = """\
import os
print(os.environ["HOME"])
open("result/made", "w").write("x")
raise SystemExit(7)
"""


@pytest.fixture(scope="module")
def machine() -> Iterator[Site]:
    """One machine for all tests here: what is installed there serves the next one, too."""
    with site() as made:
        yield made


@pytest.fixture
def far(machine: Site, sandbox: Sandbox) -> Iterator[Site]:
    """The same, for a user who has its key."""
    log_in_at(machine, sandbox)
    yield machine
    sandbox.kill_everything()
    machine.end_all()
    machine.let_in()
    machine.trust()


def test_from_a_fresh_home_a_run_prints_there_and_its_results_come_home(sandbox: Sandbox, far: Site) -> None:
    root = sandbox.project(program=PRINTS_HOME)
    said = add(sandbox, far, cwd=root)

    run = sandbox.cli("run", "--on", "there", "--follow", cwd=root)

    assert "connecting to" in said
    assert (7, f"{far.home}\n".encode()) == (run.returncode, run.stdout), run.stderr
    assert "x" == (root / "cfs" / "result" / "made").read_text()
    assert ("there", "local", "connected") == tuple(
        shown(sandbox, root)[each] for each in ("name", "kind", "reach")
    )


def test_a_run_goes_on_while_executor_connection_and_daemon_are_killed(
    sandbox: Sandbox, far: Site, tmp_path: Path
) -> None:
    root = counting_project(sandbox, tmp_path)
    add(sandbox, far, cwd=root)
    with sandbox.start_cli("run", "--on", "there", "--follow", cwd=root) as follower:
        assert follower.stdout is not None
        assert follower.stderr is not None
        begin = os.read(follower.stdout.fileno(), 1)
        far.end(EXECUTOR)
        wait_until(lambda: bool(far.pids_of(EXECUTOR)), "the executor is back")
        far.cut()
        sandbox.kill_daemon()
        far.end(EXECUTOR)
        wait_until(lambda: bool(far.pids_of(EXECUTOR)), "the executor is back again")
        (tmp_path / "enough").touch()
        output, messages = follower.communicate(timeout=60)

    assert 0 == follower.returncode, messages
    assert counted(root, begin + output)


def test_a_follower_hears_that_the_way_is_cut_and_that_it_is_back(
    sandbox: Sandbox, far: Site, tmp_path: Path
) -> None:
    root = counting_project(sandbox, tmp_path)
    add(sandbox, far, cwd=root)
    with sandbox.start_cli("run", "--on", "there", "--follow", cwd=root) as follower:
        assert follower.stdout is not None
        begin = os.read(follower.stdout.fileno(), 1)
        far.stop()
        far.cut()
        wait_until(lambda: shown(sandbox, root)["reach"] == "unreachable", "the cut is noticed")
        far.start()
        wait_until(lambda: shown(sandbox, root)["reach"] == "connected", "the way is back", 60)
        (tmp_path / "enough").touch()
        output, messages = follower.communicate(timeout=60)

    assert 0 == follower.returncode, messages
    assert counted(root, begin + output)
    assert b"no word from the executor, the run goes on" in messages
    assert b"The executor answers again" in messages


def test_runs_wait_for_a_login_and_go_on_after_it(sandbox: Sandbox, far: Site) -> None:
    root = sandbox.project()
    add(sandbox, far, cwd=root)
    far.lock_out()
    far.cut()
    wait_until(lambda: shown(sandbox, root)["reach"] != "connected", "the cut is noticed")

    run = sandbox.cli("run", "--on", "there", "--json", cwd=root)
    run_id = json.loads(run.stdout)["id"]
    wait_until(lambda: "executors login there" in str(sandbox.show(run_id, root)), "the run says what to do")
    status = sandbox.cli("status", cwd=root).stdout.decode()
    explained = sandbox.cli("explain", run_id, cwd=root)
    late = sandbox.start_cli("logs", "-f", run_id, cwd=root)
    refused = sandbox.cli("executors", "login", "there", cwd=root)
    far.let_in()
    login = sandbox.cli("executors", "login", "there", cwd=root)
    waited = sandbox.cli("wait", run_id, cwd=root)
    _, told = late.communicate(timeout=60)

    assert b"what to do:        pollinator executors login there" in explained.stdout, explained.stderr
    assert b"the run waits for it: executor there at" in told
    assert "executor there: needs auth: pollinator executors login there" in status
    assert 77 == refused.returncode
    assert 0 == login.returncode, login.stderr
    assert 0 == waited.returncode, waited.stderr


def test_an_unknown_host_key_is_not_accepted_and_the_message_says_what_to_do(
    sandbox: Sandbox, far: Site
) -> None:
    root = sandbox.project()
    far.forget_host_key()

    said = add(sandbox, far, cwd=root, expected=77)

    assert "nobody has looked at the host key" in said
    assert "pollinator executors login there" in said
    assert "needs_auth" == shown(sandbox, root)["reach"]
    assert "" == (far.folder / "known").read_text()


def test_another_host_key_than_before_is_refused_with_the_command_that_forgets_the_old_one(
    sandbox: Sandbox, far: Site
) -> None:
    root = sandbox.project()
    far.distrust()

    said = add(sandbox, far, cwd=root, expected=77)

    assert "has another host key than before" in said
    assert "ssh-keygen -f" in said


def test_a_machine_that_is_not_there_is_told_with_the_words_of_ssh_and_stays_in_the_list(
    sandbox: Sandbox,
) -> None:
    root = sandbox.project()

    done = sandbox.cli("executors", "add", "there", "ssh://127.0.0.1:1", cwd=root)

    assert 69 == done.returncode
    assert b"Connection refused" in done.stderr
    assert "unreachable" == shown(sandbox, root)["reach"]


def test_an_executor_with_runs_is_removed_by_force_only_and_takes_all_of_it_away(
    sandbox: Sandbox, far: Site
) -> None:
    root = sandbox.project(program="import time; print('on', flush=True); time.sleep(600)\n")
    add(sandbox, far, cwd=root)
    with sandbox.start_cli("run", "--on", "there", "--follow", cwd=root) as follower:
        assert follower.stdout is not None
        assert b"on\n" == os.read(follower.stdout.fileno(), 10)
        assert far.pids_of("main.py")
        refused = sandbox.cli("executors", "remove", "there", cwd=root)
        forced = sandbox.cli("executors", "remove", "there", "--force", cwd=root)
        follower.communicate(timeout=30)

    assert 78 == refused.returncode
    assert b"executors remove --force there" in refused.stderr
    assert 0 == forced.returncode, forced.stderr
    assert 105 == follower.returncode
    assert [] == far.pids_of(EXECUTOR)
    assert [] == far.pids_of("main.py"), "what ran there has ended"


def test_settings_are_changed_while_a_run_goes_on(sandbox: Sandbox, far: Site, tmp_path: Path) -> None:
    root = counting_project(sandbox, tmp_path)
    add(sandbox, far, "--set", "containers.engines=none", cwd=root)
    with sandbox.start_cli("run", "--on", "there", "--follow", cwd=root) as follower:
        assert follower.stdout is not None
        begin = os.read(follower.stdout.fileno(), 1)
        before = far.pids_of(EXECUTOR)
        changed = sandbox.cli(
            "executors",
            "set",
            "there",
            f"images.dir={tmp_path}",
            "--unset",
            "containers.engines",
            "--json",
            cwd=root,
            timeout=60,
        )
        after = far.pids_of(EXECUTOR)
        (tmp_path / "enough").touch()
        output, _ = follower.communicate(timeout=60)
    again = sandbox.cli("executors", "connect", "there", cwd=root)

    assert 0 == changed.returncode, changed.stderr
    assert {"images.dir": str(tmp_path)} == json.loads(changed.stdout)["settings"]
    assert (1, 1) == (len(before), len(after))
    assert before != after
    assert (0, True) == (follower.returncode, counted(root, begin + output))
    assert (0, after) == (again.returncode, far.pids_of(EXECUTOR)), "it is not started anew for nothing"


def test_what_an_executor_kept_there_is_gone_when_it_is_removed(sandbox: Sandbox, far: Site) -> None:
    root = sandbox.project()
    add(sandbox, far, cwd=root)
    kept = far.home / ".local/state/pollinator/executors"
    before = {each.name for each in kept.iterdir()}

    removed = sandbox.cli("executors", "remove", "there", cwd=root)

    assert 0 == removed.returncode, removed.stderr
    assert b"" == sandbox.cli("executors", "list", cwd=root).stdout.partition(b"there")[1]
    assert 1 == len(before - {each.name for each in kept.iterdir()})
    assert [] == far.pids_of(EXECUTOR)


def test_the_connection_outlives_the_daemon_and_the_next_one_uses_it(sandbox: Sandbox, far: Site) -> None:
    root = sandbox.project()
    add(sandbox, far, cwd=root)
    sandbox.kill_daemon()
    # Nobody could log in now.
    far.lock_out()

    run = sandbox.cli("run", "--on", "there", "--follow", cwd=root)

    assert (0, b"hello\n") == (run.returncode, run.stdout), run.stderr


def test_a_site_without_internet_gets_its_packages_from_here(sandbox: Sandbox) -> None:
    root = sandbox.project()
    alone = {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": "/dev/null", "PIP_FIND_LINKS": "/nowhere"}
    with site(variables=alone) as far:
        log_in_at(far, sandbox)
        said = add(sandbox, far, cwd=root)
        run = sandbox.cli("run", "--on", "there", "--follow", cwd=root)
        sandbox.kill_everything()

    assert "pip finds no packages there" in said
    assert (0, b"hello\n") == (run.returncode, run.stdout), run.stderr


def test_a_daemon_that_ends_lets_the_executor_there_go_on(sandbox: Sandbox, far: Site) -> None:
    root = sandbox.project()
    add(sandbox, far, cwd=root)
    pids = far.pids_of(EXECUTOR)

    stopped = sandbox.cli("daemon", "stop", cwd=root)

    assert 0 == stopped.returncode
    assert pids == far.pids_of(EXECUTOR)
    os.kill(pids[0], signal.SIGTERM)


def test_a_login_where_none_is_needed_connects_and_leaves_no_second_connection(
    sandbox: Sandbox, far: Site
) -> None:
    root = sandbox.project()
    add(sandbox, far, cwd=root)
    before = far.logins()

    done = sandbox.cli("executors", "login", "there", cwd=root)

    assert 0 == done.returncode, done.stderr
    assert before == far.logins()


def test_one_that_was_logged_in_by_hand_is_used_without_another_login(sandbox: Sandbox, far: Site) -> None:
    root = sandbox.project()
    far.lock_out()
    said = add(sandbox, far, cwd=root, expected=77)
    login = shown(sandbox, root)["login"]
    tried = far.refusals()
    far.let_in()
    subprocess.run(login, env=sandbox.env, check=True, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    run = sandbox.cli("run", "--on", "there", "--follow", cwd=root)

    assert "needs a login" in said
    assert (0, b"hello\n") == (run.returncode, run.stdout), run.stderr
    assert tried == far.refusals()


def test_nobody_is_locked_out_because_a_daemon_tries_to_log_in_all_the_time(
    sandbox: Sandbox, far: Site
) -> None:
    root = sandbox.project()
    far.lock_out()
    add(sandbox, far, cwd=root, expected=77)
    tried = far.refusals()

    run = sandbox.cli("run", "--on", "there", "--json", cwd=root)
    run_id = json.loads(run.stdout)["id"]
    wait_until(lambda: "executors login there" in str(sandbox.show(run_id, root)), "the run waits")
    cancelled = sandbox.cli("cancel", "--wait", run_id, cwd=root)

    assert tried == far.refusals()
    assert 0 == cancelled.returncode, cancelled.stderr


def test_a_follower_is_told_to_log_in_and_goes_on_after_that(
    sandbox: Sandbox, far: Site, tmp_path: Path
) -> None:
    root = counting_project(sandbox, tmp_path)
    add(sandbox, far, cwd=root)
    with sandbox.start_cli("run", "--on", "there", "--follow", cwd=root) as follower:
        assert follower.stdout is not None
        begin = os.read(follower.stdout.fileno(), 1)
        far.lock_out()
        far.cut()
        wait_until(lambda: shown(sandbox, root)["reach"] == "needs_auth", "the cut is noticed")
        wait_until(
            lambda: "executors login there" in sandbox.cli("show", "latest", cwd=root).stdout.decode(),
            "the run says what to do",
        )
        far.let_in()
        login = sandbox.cli("executors", "login", "there", cwd=root)
        (tmp_path / "enough").touch()
        output, messages = follower.communicate(timeout=60)

    assert 0 == login.returncode, login.stderr
    assert 0 == follower.returncode, messages
    assert counted(root, begin + output)
    assert b"needs a login: pollinator executors login there" in messages
