"""A double in a process of its own: it is told a line of JSON for each thing to do, and answers with one."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

_TESTS = Path(__file__).parents[1]


class Obeying:
    """The process. It sees the end of its input when the tests end.

    Args:
        module: what it runs; it calls ``obey``.
        settings: its argument.
        log: takes what it says on stderr.
    """

    def __init__(self, module: str, settings: Mapping[str, Any], log: IO[bytes] | None = None) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=os.environ | {"PYTHONPATH": str(_TESTS), "PYTHONWARNINGS": "error"},
            process_group=0,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input, self._output = self._process.stdin, self._process.stdout
        self._lock = threading.Lock()

    def do(self, what: str, /, **how: Any) -> Any:
        """Have it do something; what that came to.

        Raises:
            RuntimeError: it failed.
        """
        with self._lock:
            self._input.write(json.dumps({"do": what, "with": how}).encode() + b"\n")
            self._input.flush()
            answer = json.loads(self._output.readline() or b'{"failed": "it has ended"}')
        if "failed" in answer:
            raise RuntimeError(f"the double: {what}: {answer['failed']}")
        return answer["done"]

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()
        self._input.close()
        self._output.close()

    def end(self, patience_s: float) -> None:
        """Have it end by itself, or else at once."""
        self._input.close()
        try:
            self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._output.close()


async def obey(control: object) -> None:
    """Do what is told on stdin, each a method of ``control``, until there is no more."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=1 << 24)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        asked = json.loads(line)
        try:
            done = {"done": await getattr(control, asked["do"])(**asked["with"])}
        except Exception as error:  # noqa: BLE001 - the test is told
            done = {"failed": f"{type(error).__name__}: {error}"}
        sys.stdout.write(json.dumps(done) + "\n")
        sys.stdout.flush()
