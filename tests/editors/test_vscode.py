"""The extension in a real VS Code, with a real daemon: press run, see it run, break it, see where."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from support.sandbox import Sandbox, desk
from support.workbench import Workbench, chromium, code_server, open_workbench

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
    desk: Sandbox, browser: Browser, address: str, name: str
) -> Generator[tuple[Workbench, Path]]:
    made = desk.cli("new", name, cwd=desk.folder)
    assert made.returncode == 0, made.stderr
    root = desk.folder / name
    with open_workbench(browser, address, root) as bench:
        yield bench, root


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
        (root / "cfs/src/main.py").write_text(PRINTS.format(go=str(go)))
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
