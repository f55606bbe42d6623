"""Images are made ready by real engines, out of real archives and registries of this machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from support.containers import dockerd, private_registry, registry
from support.people import ground

__all__ = ["dockerd", "ground", "private_registry", "registry"]


@pytest.fixture(autouse=True)
def nobodys_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No passwords and no folders of whoever runs the tests."""
    for name in ("SCRATCH", "PSCRATCH", "WORK", "WORKDIR", "DOCKER_CONFIG", "REGISTRY_AUTH_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    os.makedirs(tmp_path / "home")
