"""VS Code as a user has it: code-server with the packaged extension, in a browser that tests look through.

What is on the screen is read from its elements. Screenshots are kept below ``.cache/editors/screenshots``.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright
from playwright.sync_api import TimeoutError as NotInTime

from support.components import Process, missing, node, program
from support.sandbox import BIN, Sandbox
from support.source import ROOT

EXTENSION: Final = ROOT / "editors/vscode/dist/pollinator.vsix"
SERVER: Final = ROOT / ".cache/editors/code-server/node_modules/code-server/out/node/entry.js"
SCREENSHOTS: Final = ROOT / ".cache/editors/screenshots"
COMPONENT: Final = "editors"

_LISTENS = re.compile(r"listening on (http://127\.0\.0\.1:\d+)/")
PATIENCE_MS: Final = 40_000
SHORT_MS: Final = 5_000
TRIES: Final = 5
SETTINGS: Final = {
    "chat.disableAIFeatures": True,
    "editor.autoClosingBrackets": "never",
    "editor.autoClosingQuotes": "never",
    "extensions.autoCheckUpdates": False,
    "security.workspace.trust.enabled": False,
    "telemetry.telemetryLevel": "off",
    # With elements for its text, which the others draw as a picture.
    "terminal.integrated.gpuAcceleration": "off",
    "window.commandCenter": False,
    "workbench.secondarySideBar.defaultVisibility": "hidden",
    "workbench.startupEditor": "none",
    "workbench.tips.enabled": False,
}


class Workbench:
    """One window of the editor."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def command(self, title: str) -> None:
        """Choose a command by its title."""
        self._pick("F1", f">{title}", title)

    def open_file(self, path: Path, name: str) -> None:
        """Open a file of the workspace and put the cursor into it."""
        self._pick("Control+p", str(path / name), Path(name).name)
        self.tab(Path(name).name).wait_for()
        self.page.locator(".editor-group-container.active .monaco-editor .view-lines").first.wait_for()

    def _pick(self, key: str, words: str, entry: str) -> None:
        """Choose what is called so from the list that a key opens."""
        box = self.page.locator(".quick-input-widget input")
        focused = self.page.locator(".quick-input-list .monaco-list-row.focused", has_text=entry)
        for _ in range(TRIES):
            # It closes whenever something else takes the focus, such as an editor that is just opening.
            try:
                self.page.keyboard.press(key)
                box.fill(words, timeout=SHORT_MS)
                focused.wait_for(timeout=SHORT_MS)
                box.press("Enter", timeout=SHORT_MS)
                # Not the box: what was chosen may ask something there.
                focused.wait_for(state="hidden", timeout=SHORT_MS)
            except NotInTime:
                self.page.keyboard.press("Escape")
            else:
                return
        pytest.fail(f"cannot choose {entry}")

    def choose(self, entry: str) -> None:
        """Answer what was asked with the first entry of a list that has these words."""
        self.page.locator(".quick-input-list .monaco-list-row", has_text=entry).first.click()

    def append(self, text: str) -> None:
        """Type at the end of the open file; it is not saved."""
        self.page.locator(".editor-group-container.active .monaco-editor .view-lines").first.click()
        self.page.keyboard.press("Control+End")
        self.page.keyboard.insert_text(text)

    def tab(self, name: str) -> Locator:
        """The tab of an open editor."""
        return self.page.locator(".tabs-container .tab", has_text=name).first

    @property
    def run_button(self) -> Locator:
        """The one above the editor."""
        return self.page.locator('.editor-actions [role="button"][aria-label^="Run and Follow"]')

    @property
    def lenses(self) -> Locator:
        """Words above the lines of the open file."""
        return self.page.locator(".codelens-decoration a")

    @property
    def follow_view(self) -> Locator:
        """The lines of the terminal that is shown."""
        return self.page.locator(".terminal-wrapper.active .xterm-rows")

    @property
    def keys_of_follow_view(self) -> Locator:
        """What takes the keys for the terminal that is shown."""
        return self.page.locator(".terminal-wrapper.active textarea.xterm-helper-textarea")

    @property
    def tree(self) -> Locator:
        """Entries of the view of runs."""
        return self.page.locator('.sidebar [role="treeitem"]')

    @property
    def status(self) -> Locator:
        """The extension's entry in the status bar."""
        return self.page.locator('[id^="pollinator.pollinator"].statusbar-item')

    @property
    def problems(self) -> Locator:
        """Entries of the list of problems, once it is shown."""
        return self.page.locator('.markers-panel [role="treeitem"]')

    @property
    def toasts(self) -> Locator:
        """What the editor has to say."""
        return self.page.locator(".notifications-toasts .notification-list-item")

    @property
    def dialog(self) -> Locator:
        """A question that has to be answered."""
        return self.page.locator(".monaco-dialog-box")

    @property
    def welcome(self) -> Locator:
        """What the view of runs says when there is nothing to show."""
        return self.page.locator(".sidebar .welcome-view-content")

    @property
    def output(self) -> Locator:
        """The lines of the output channel that is shown."""
        return self.page.locator(".panel .output-view .view-lines, .panel .monaco-editor .view-lines").first

    def cells(self, name: str) -> Locator:
        """Cells of the table that the open editor of a file shows."""
        self.tab(name).click()
        frames = self.page.frame_locator("iframe.webview.ready:visible").first
        return frames.frame_locator("#active-frame").locator("td")

    def show_runs(self) -> None:
        """Open the view of runs."""
        self.command("Pollinator: Focus on Runs View")
        self.tree.first.wait_for()

    def screenshot(self, name: str) -> None:
        """Keep what is to be seen now."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png")


@contextmanager
def code_server(sandbox: Sandbox) -> Generator[str]:
    """Its address, with the extension installed; what it starts sees the sandbox's folders."""
    for path, what in (
        (EXTENSION, "the extension is not packaged"),
        (SERVER, "code-server is not installed"),
    ):
        if not path.exists():
            missing(f"{what}: make editors", COMPONENT)
    # Where pipx puts it: the editor asks the user's shell for the PATH, and does not take that of this test.
    local = sandbox.folder / "home/.local/bin"
    local.mkdir(parents=True)
    (local / "pollinator").symlink_to(BIN / "pollinator")
    folder = sandbox.folder / "code"
    _settings(sandbox).parent.mkdir(parents=True)
    _settings(sandbox).write_text(json.dumps(SETTINGS))
    command = [node(), str(SERVER), "--user-data-dir", str(folder / "user"), "--extensions-dir"]
    command += [str(folder / "extensions"), "--disable-telemetry", "--disable-update-check"]
    subprocess.run(
        [*command, "--install-extension", str(EXTENSION)],
        env=sandbox.env,
        check=True,
        capture_output=True,
        timeout=60,
    )
    log = folder / "log"
    server = Process(
        [*command, "--auth", "none", "--bind-addr", "127.0.0.1:0"],
        log,
        env=sandbox.env,
    )
    try:
        server.wait_for(lambda: _LISTENS.search(log.read_text()) is not None, "code-server", timeout_s=30)
        found = _LISTENS.search(log.read_text())
        assert found is not None
        yield found[1]
    finally:
        server.end()


def _settings(sandbox: Sandbox) -> Path:
    return sandbox.folder / "code/user/User/settings.json"


@contextmanager
def trust_asked_for(sandbox: Sandbox) -> Generator[None]:
    """Windows that open meanwhile are in restricted mode until the user trusts what is in them."""
    settings = {"security.workspace.trust.enabled": True, "security.workspace.trust.startupPrompt": "never"}
    _settings(sandbox).write_text(json.dumps(SETTINGS | settings))
    try:
        yield
    finally:
        _settings(sandbox).write_text(json.dumps(SETTINGS))


@contextmanager
def chromium() -> Generator[Browser]:
    """The browser."""
    path = program("chromium", COMPONENT, "make editors")
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path,
            # As root and in a container it cannot have its own sandbox, nor much shared memory.
            args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"],
        )
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def open_workbench(
    browser: Browser, address: str, folder: Path, *, at_work: bool = True
) -> Generator[Workbench]:
    """The editor with a folder open, as one who never used it sees it, and the extension at work in it."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    context.set_default_timeout(PATIENCE_MS)
    try:
        page = context.new_page()
        page.goto(f"{address}/?folder={folder}")
        page.locator(".monaco-workbench").wait_for()
        bench = Workbench(page)
        if at_work:
            bench.status.wait_for()
        yield bench
    finally:
        context.close()
