"""A private home for everything that a test of the command line touches."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folders, empty, and no colour or daemon of the caller."""
    for name in ("CONFIG_HOME", "STATE_HOME", "CACHE_HOME"):
        monkeypatch.setenv(f"XDG_{name}", str(tmp_path / name.lower()))
    runtime = tmp_path / "run"
    runtime.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("POLLINATOR_NO_AUTOSTART", "1")
    for name in ("NO_COLOR", "CLICOLOR_FORCE", "FORCE_COLOR", "POLLINATOR_STORE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path
