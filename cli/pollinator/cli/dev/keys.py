"""Single keys of a terminal, for as long as this program has it to itself."""

from __future__ import annotations

import asyncio
import os
import signal
import termios
import tty
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from typing import TextIO


@contextmanager
def pressed_keys(tell: Callable[[str], None], stream: TextIO) -> Generator[Callable[[], None] | None]:
    """Tell of each key that is pressed; Ctrl-C and Ctrl-Z stay what they are.

    Yields what gives the terminal back at once, or None where there are no keys: no terminal, or another
    program has it.
    """
    if not stream.isatty() or os.tcgetpgrp(stream.fileno()) != os.getpgrp():
        yield None
        return
    keys = _Keys(tell, stream.fileno())
    keys.begin()
    try:
        yield keys.give_back
    finally:
        keys.end()


class _Keys:
    """One terminal, as it was and as it is for us."""

    def __init__(self, tell: Callable[[str], None], fd: int) -> None:
        self._tell = tell
        self._fd = fd
        self._loop = asyncio.get_running_loop()
        self._before = termios.tcgetattr(fd)

    def begin(self) -> None:
        self._take()
        self._loop.add_reader(self._fd, self._read)
        # A shell takes the terminal to itself while we are stopped.
        self._loop.add_signal_handler(signal.SIGCONT, self._take)
        self._loop.add_signal_handler(signal.SIGTERM, self._terminate)

    def end(self) -> None:
        self._loop.remove_signal_handler(signal.SIGTERM)
        self._loop.remove_signal_handler(signal.SIGCONT)
        self._loop.remove_reader(self._fd)
        self.give_back()

    def give_back(self) -> None:
        """It is as it was."""
        with suppress(termios.error):
            termios.tcsetattr(self._fd, termios.TCSANOW, self._before)

    def _take(self) -> None:
        # Each key comes at once, and is not shown.
        tty.setcbreak(self._fd, termios.TCSANOW)

    def _read(self) -> None:
        data = os.read(self._fd, 64)
        if not data:
            self._loop.remove_reader(self._fd)
        elif not data.startswith(b"\x1b["):
            # What arrow keys send is no key of ours.
            for key in data.decode("utf-8", "replace"):
                self._tell(key)

    def _terminate(self) -> None:
        self.give_back()
        self._loop.remove_signal_handler(signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
