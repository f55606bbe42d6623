"""The extension in a real VS Code, with a real daemon: press run, see it run, break it, see where."""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from support.sandbox import BIN, Sandbox, desk
from support.workbench import Workbench, chromium, code_server, open_workbench, trust_asked_for

__all__ = ["desk"]
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

WRONG = "the wrong turn"
PRINTS = """\
import os, time
for number in range(30):
    print(f"line {{number:02d}}.", flush=True)
    while number == 15 and not os.path.exists({go!r}):
        time.sleep(0.01)
    time.sleep(0.05)
"""
DRAWS = """\
import os, struct, time, zlib
from pathlib import Path

result, rank = Path(os.environ["POLLINATOR_RESULT"]), int(os.environ["RANK"])
print("\\033[3%dmrank %d draws\\033[0m" % (rank + 2, rank))
if rank == 0:
    (result / "table.csv").write_text('name,value\\n"alpha, the first",1.5\\nbeta,22\\n')
    rows = b"".join(b"\\0" + b"".join(bytes((x, 2 * y, 160)) for x in range(240)) for y in range(120))
    def piece(kind, data):
        whole = kind + data
        return struct.pack(">I", len(data)) + whole + struct.pack(">I", zlib.crc32(whole))
    head = struct.pack(">IIBBBBB", 240, 120, 8, 2, 0, 0, 0)
    png = piece(b"IHDR", head) + piece(b"IDAT", zlib.compress(rows)) + piece(b"IEND", b"")
    (result / "newest").symlink_to("table.csv")
    (result / "plot.png").write_bytes(b"\\x89PNG\\r\\n\\x1a\\n" + png)
"""
WAITS = """\
import time
print("waiting", flush=True)
time.sleep(300)
"""


@pytest.fixture(scope="module")
def address(desk: Sandbox) -> Iterator[str]:
    with code_server(desk) as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@contextmanager
def project_open(
    desk: Sandbox,
    browser: Browser,
    address: str,
    name: str,
    *options: str,
    link: bool = False,
    at_work: bool = True,
) -> Generator[tuple[Workbench, Path]]:
    made = desk.cli("new", name, *options, cwd=desk.folder)
    assert made.returncode == 0, made.stderr
    root = desk.folder / name
    if link:
        root = desk.folder / f"{name}-link"
        root.symlink_to(desk.folder / name)
    try:
        with open_workbench(browser, address, root, at_work=at_work) as bench:
            yield bench, root
    finally:
        # What goes on has cores that the runs of other tests wait for.
        desk.cli("cancel", "--all", "--wait", cwd=desk.folder / name)


def set_up(root: Path, program: str, *, ranks: int = 1) -> None:
    (root / "cfs/src/main.py").write_text(program)
    spec = root / "project.yaml"
    spec.write_text(spec.read_text().replace("processesPerNode: 1 ", f"processesPerNode: {ranks} "))


def test_press_run_see_it_run_break_it_and_see_where(desk: Sandbox, address: str, browser: Browser) -> None:
    with project_open(desk, browser, address, "first") as (bench, root):
        bench.open_file(root, "cfs/src/main.py")

        bench.run_button.click()

        expect(bench.follow_view).to_contain_text("Data: Hello world!")
        expect(bench.follow_view).to_contain_text("SUCCEEDED")
        bench.show_runs()
        expect(bench.tree.filter(has_text="SUCCEEDED")).to_have_count(1)
        bench.screenshot("1-succeeded")

        lines = (root / "cfs/src/main.py").read_text().count("\n")
        bench.append(f'\nraise ValueError("{WRONG}")\n')
        bench.run_button.click()

        expect(bench.tree.filter(has_text="FAILED")).to_have_count(1)
        expect(bench.follow_view).to_contain_text("FAILED")
        bench.screenshot("2-failed")
        bench.command("Problems: Focus on Problems View")
        expect(bench.problems.filter(has_text=WRONG)).to_contain_text(re.compile(rf"Ln {lines + 2}\b"))
        bench.screenshot("3-where")


def test_a_follow_goes_on_without_gap_or_repeat_when_the_daemon_is_killed(
    desk: Sandbox, address: str, browser: Browser
) -> None:
    go = desk.folder / "go"
    with project_open(desk, browser, address, "long") as (bench, root):
        set_up(root, PRINTS.format(go=str(go)))
        bench.open_file(root, "cfs/src/main.py")
        bench.command("View: Toggle Maximized Panel")
        bench.command("Pollinator: Run and Follow")
        expect(bench.follow_view).to_contain_text("line 15.")

        desk.kill_daemon()
        go.touch()

        expect(bench.follow_view).to_contain_text("SUCCEEDED")
        bench.screenshot("4-daemon-killed")
        text = bench.follow_view.inner_text().replace("\xa0", " ")
        assert list(range(30)) == [int(number) for number in re.findall(r"line (\d\d)\.", text)]


def test_a_wrong_project_yaml_is_marked_while_it_is_typed(
    desk: Sandbox, address: str, browser: Browser
) -> None:
    with project_open(desk, browser, address, "typed") as (bench, root):
        bench.open_file(root, "project.yaml")
        lines = (root / "project.yaml").read_text().count("\n")

        bench.append("\nconditons: {}\n")

        bench.command("Problems: Focus on Problems View")
        problem = bench.problems.filter(has_text="unknown key 'conditons'")
        expect(problem).to_contain_text(re.compile(rf"Ln {lines + 2}\b"))
        bench.screenshot("5-project-yaml")


def test_results_open_when_they_arrive_and_make_room_for_the_next(
    desk: Sandbox, address: str, browser: Browser
) -> None:
    with project_open(desk, browser, address, "draws") as (bench, root):
        set_up(root, DRAWS, ranks=2)
        bench.open_file(root, "cfs/src/main.py")
        bench.show_runs()
        bench.command("Pollinator: Run and Follow")

        expect(bench.follow_view).to_contain_text("SUCCEEDED")
        expect(bench.follow_view).to_contain_text("1| rank 1 draws")
        expect(bench.lenses.filter(has_text="SUCCEEDED")).to_be_visible()
        expect(bench.tab("plot.png")).to_be_visible()
        expect(bench.cells("table.csv").first).to_have_text("alpha, the first")
        bench.tree.filter(has_text="SUCCEEDED").click()
        bench.tree.filter(has_text="results").click()
        expect(bench.tree.filter(has_text="plot.png")).to_be_visible()
        expect(bench.tree.filter(has_text="newest")).to_contain_text("→ table.csv")
        expect(bench.tree.filter(has_text="rank ")).to_have_count(2)
        bench.screenshot("6-results")

        bench.command("View: Toggle Panel Visibility")
        bench.command("Pollinator: Run and Follow")
        expect(bench.tree.filter(has_text="SUCCEEDED")).to_have_count(2)
        newest = desk.show("latest", root)["id"]
        # Those of the run before have made room.
        for run in ("", newest):
            expect(bench.page.locator(f'.tab-label[aria-label^="run {run}"]')).to_have_count(2)
        bench.screenshot("6-again")


def test_runs_can_be_compared(desk: Sandbox, address: str, browser: Browser) -> None:
    with project_open(desk, browser, address, "differs") as (bench, root):
        source = root / "cfs/src/main.py"
        for number in (1, 2):
            source.write_text(f"print('version {number}')\n")
            assert 0 == desk.cli("run", "--follow", cwd=root).returncode
        source.write_text("print('version 3')\n")
        bench.show_runs()
        expect(bench.tree.filter(has_text="SUCCEEDED")).to_have_count(2)
        changed = bench.page.locator(".multiDiffEntry", has_text="main.py")
        # The older is what the newer is compared with, in whichever order they are chosen.
        for other, before, after in (("as they are now", 2, 3), ("SUCCEEDED", 1, 2)):
            bench.command("Pollinator: Compare with")
            bench.choose("SUCCEEDED")
            expect(bench.page.get_by_placeholder("Compare with what?")).to_be_visible()
            bench.choose(other)

            for side, version in (("original", before), ("modified", after)):
                lines = changed.locator(f".{side} .view-line", has_text=f"version {version}")
                expect(lines.first).to_be_visible()
            expect(changed.locator(".renamed")).to_have_count(0)
            bench.screenshot(f"7-compared-{before}")


def test_ctrl_c_lets_go_of_a_run_which_can_be_cancelled(
    desk: Sandbox, address: str, browser: Browser
) -> None:
    with project_open(desk, browser, address, "waits", link=True) as (bench, root):
        set_up(root, WAITS)
        bench.open_file(root, "cfs/src/main.py")
        bench.show_runs()
        bench.command("Pollinator: Run on")
        bench.choose("local")
        expect(bench.follow_view).to_contain_text("waiting")

        bench.keys_of_follow_view.press("Control+c")

        expect(bench.follow_view).to_contain_text("Detached; the run goes on")
        expect(bench.tree.filter(has_text="RUNNING")).to_have_count(1)
        bench.status.hover()
        bench.screenshot("8-detached")
        bench.command("Pollinator: Cancel Run")
        expect(bench.dialog).to_contain_text("Cancel the run of waits")
        bench.screenshot("8-cancel")
        bench.dialog.get_by_role("button", name="Cancel Run").click()
        expect(bench.tree.filter(has_text="CANCELLED")).to_have_count(1)
        bench.command("Pollinator: Cancel Run")
        expect(bench.toasts).to_contain_text("Pollinator: No run is going on.")
        bench.command("Notifications: Clear All Notifications")

        bench.command("Tasks: Run Build Task")
        bench.choose("run waits")
        expect(bench.follow_view).to_contain_text(re.compile("Executing task.*waiting", re.DOTALL))
        bench.keys_of_follow_view.press("Control+c")
        expect(bench.follow_view).to_contain_text("Detached; the run goes on")
        expect(bench.follow_view).to_contain_text("Pollinator: Show Output")
        # Not as if it had done what it is for.
        expect(bench.follow_view).to_contain_text("exit code: 130")
        bench.screenshot("8-task")
        expect(bench.tree.filter(has_text="RUNNING")).to_have_count(1)
        # The command line knows the folder by its own name: it is the same project.
        assert 0 == desk.cli("run", cwd=desk.folder / "waits").returncode
        expect(bench.tree.filter(has_text="RUNNING")).to_have_count(2)


def test_where_the_program_is_missing_that_is_said(desk: Sandbox, address: str, browser: Browser) -> None:
    root = desk.folder / "without"
    (root / ".vscode").mkdir(parents=True)
    (root / ".vscode/settings.json").write_text('{"pollinator.program": "no-such-program"}')
    with project_open(desk, browser, address, "without", "--here") as (bench, _):
        expect(bench.toasts).to_contain_text("Pollinator is not installed")
        bench.screenshot("9-not-installed")
        bench.command("Pollinator: Doctor")
        expect(bench.output).to_contain_text(re.compile(r"FAILED\s+Pollinator\s+is\s+not\s+installed"))
        bench.screenshot("9-doctor")

        # The same user's program, with a daemon that nobody has started.
        elsewhere = desk.folder / "elsewhere"
        elsewhere.write_text(
            f'#!/bin/sh\nXDG_RUNTIME_DIR={root} XDG_STATE_HOME={root} exec {BIN / "pollinator"} "$@"\n'
        )
        elsewhere.chmod(0o755)
        settings = {"pollinator.program": str(elsewhere), "pollinator.startDaemon": False}
        (root / ".vscode/settings.json").write_text(json.dumps(settings))
        bench.show_runs()
        expect(bench.tree.filter(has_text="The daemon does not run")).to_be_visible()
        expect(bench.tree.filter(has_text="pollinator daemon start")).to_be_visible()
        bench.screenshot("9-not-started")
        assert not (root / "pollinator").exists()


def test_nothing_is_sent_before_the_workspace_is_trusted(
    desk: Sandbox, address: str, browser: Browser
) -> None:
    with (
        trust_asked_for(desk),
        project_open(desk, browser, address, "strange", at_work=False) as (bench, root),
    ):
        bench.open_file(root, "cfs/src/main.py")
        bench.command("Pollinator: Focus on Runs View")
        expect(bench.welcome).to_contain_text("left alone until you trust this workspace")
        for key in ("r", "h"):
            bench.page.keyboard.press("Control+Alt+p")
            bench.page.keyboard.press(key)
            expect(bench.toasts.first).to_contain_text("Nothing is sent to the daemon before you trust")
            bench.screenshot(f"10-not-trusted-{key}")
            bench.command("Notifications: Clear All Notifications")
            expect(bench.toasts).to_have_count(0)
        expect(bench.run_button).to_have_count(0)
        assert b"strange" not in desk.cli("status", "--json", cwd=desk.folder).stdout

        bench.welcome.get_by_role("button", name="Manage Workspace Trust").click()
        bench.page.locator(".workspace-trust-editor").get_by_role("button", name="Trust").first.click()

        expect(bench.status).to_be_visible()
        bench.show_runs()
        expect(bench.tree.filter(has_text="strange")).to_be_visible()
        bench.screenshot("10-trusted")
        assert b"strange" in desk.cli("status", "--json", cwd=desk.folder).stdout
