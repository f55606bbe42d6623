"""A user of their own for every test: the real user's files, daemon and buckets are not touched."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

CALLER = dict(os.environ)
"""The environment of whoever started the tests, for the few that install packages."""

FOLDERS = {
    "HOME": "home",
    "XDG_CONFIG_HOME": "config",
    "XDG_DATA_HOME": "data",
    "XDG_STATE_HOME": "state",
    "XDG_CACHE_HOME": "cache",
    "XDG_RUNTIME_DIR": "run",
}
_KEPT = frozenset({"POLLINATOR_REQUIRE"})
_DROPPED = ("AWS_", "POLLINATOR_", "COLONIES_", "KUBE")
_COLOURS = ("NO_COLOR", "CLICOLOR_FORCE", "FORCE_COLOR")


@contextmanager
def private_user() -> Generator[Path]:
    """Folders of a new user, and none of the caller's settings."""
    # The name is short, for the paths of Unix sockets are limited.
    folder = Path(tempfile.mkdtemp(prefix="pol-"))
    try:
        with pytest.MonkeyPatch.context() as patch:
            for variable, name in FOLDERS.items():
                (folder / name).mkdir(mode=0o700)
                patch.setenv(variable, str(folder / name))
            for name in [each for each in os.environ if each.startswith(_DROPPED) or each in _COLOURS]:
                if name not in _KEPT:
                    patch.delenv(name)
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session", autouse=True)
def _private_session() -> Iterator[None]:
    # A shell makes what it starts in the background deaf to Ctrl-C, and with it all that the tests start.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    with private_user():
        yield


@pytest.fixture(autouse=True)
def _private_test() -> Iterator[None]:
    with private_user():
        yield
