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
    loop, fd = asyncio.get_running_loop(), stream.fileno()
    before = termios.tcgetattr(fd)

    def read() -> None:
        data = os.read(fd, 64)
        if not data:
            loop.remove_reader(fd)
        elif not data.startswith(b"\x1b["):
            # What arrow keys send is no key of ours.
            for key in data.decode("utf-8", "replace"):
                tell(key)

    def take() -> None:
        # As before, but for lines: each key comes at once, and is not shown.
        tty.setcbreak(fd, termios.TCSANOW)

    def give_back() -> None:
        with suppress(termios.error):
            termios.tcsetattr(fd, termios.TCSANOW, before)

    def end() -> None:
        give_back()
        loop.remove_signal_handler(signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)

    take()
    loop.add_reader(fd, read)
    # A shell takes the terminal to itself while we are stopped.
    loop.add_signal_handler(signal.SIGCONT, take)
    loop.add_signal_handler(signal.SIGTERM, end)
    try:
        yield give_back
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
        loop.remove_signal_handler(signal.SIGCONT)
        loop.remove_reader(fd)
        give_back()
