"""Commands in an image under Docker and Podman. Standard library only."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pollinator.executors.cgroups import group_of
from pollinator.executors.containers.inimage import CHECK, OURS, PRIVATE, WORK, InImage

ENGINE_S = 120.0
"""So long an engine may take for one step."""

# The shell says in words that a signal ended the command, which its number alone does not: programs may exit
# with the same. It outlives every signal, so that this is noted. What the command prints goes straight to the
# file where it is kept: on the way through the engine the order of its two streams would be lost.
ENTER_AND_TELL = f"""\
{CHECK}trap : HUP INT QUIT USR1 USR2 TERM
echo $$ > {PRIVATE}/$0.pid
exec >> {OURS}/output/$0 2> {PRIVATE}/$0.signal
( exec "$@" < /dev/null 2>&1 )
echo $? > {PRIVATE}/$0.end
"""

# Ends when nobody holds the other end of the pipe any more, however that came, and the container with it.
HOLD = f"trap '' HUP INT QUIT USR1 USR2 TERM; read -r _ < {PRIVATE}/hold"


class Daemonic(InImage):
    """Docker and Podman: one container for all commands of a run, which ends with this process."""

    own_limits = True

    def __init__(self, workspace: Path, plan: Mapping[str, Any]) -> None:
        super().__init__(workspace, plan)
        self._name = f"pollinator-{plan['run_id']}"
        self._held = -1
        self._killed = False
        self._errands: list[subprocess.Popen[bytes]] = []

    def begin(self) -> str:
        """Start the container; why it cannot be, or nothing."""
        if problem := super().begin():
            return problem
        (self.folder / "output").mkdir(exist_ok=True)
        hold = self.private / "hold"
        hold.unlink(missing_ok=True)
        os.mkfifo(hold, 0o600)
        self._held = os.open(hold, os.O_RDWR | os.O_CLOEXEC)
        code, said = self._do(*self._run())
        if code:
            return f"the container could not be started: {said}"
        code, said = self._do("inspect", "--format", "{{.State.Pid}}", self._name)
        if not code and said.isdecimal():
            self.guard = group_of(int(said))
        return ""

    def ask(self, number: signal.Signals, ranks: Mapping[int, int]) -> None:
        """To all processes of the container: not to the clients, which would let go of them."""
        self._send(f"kill -{number.value} -1")

    def warn(self, number: signal.Signals, ranks: Mapping[int, int]) -> None:
        """To the children of the ranks' shells."""
        files = " ".join(f"{PRIVATE}/{rank}.pid" for rank in ranks)
        one = f'read -r p < "$f" && read -r c < /proc/$p/task/$p/children && kill -{number.value} $c'
        self._send(f"for f in {files}; do {one}; done")

    def end(self) -> None:
        """Kill the container."""
        if not self._killed:
            self._killed = True
            self._do("kill", self._name)

    def close(self) -> None:
        """Remove the container."""
        if self.guard is not None:
            self.guard.remember()
        self._killed = True
        self._do("rm", "--force", "--volumes", self._name)
        if self._held >= 0:
            os.close(self._held)
            self._held = -1

    def cpu_s(self) -> float:
        """What the kernel has counted."""
        return self.guard.cpu_s() if self.guard is not None else 0.0

    def _run(self) -> list[str]:
        options = [
            "--detach",
            "--init",
            "--name",
            self._name,
            "--label",
            f"pollinator.run={self.plan['run_id']}",
        ]
        # The ranks meet over the machine's network, and share memory as they do outside.
        options += ["--network", "host", "--shm-size", str(_half_of_memory())]
        options += [
            "--security-opt",
            "label=disable",
            "--workdir",
            WORK,
            "--user",
            self.plan["container"]["user"],
        ]
        if os.path.basename(self.program) == "podman" and os.geteuid():
            options += ["--userns", "keep-id"]
        if memory := int(self.plan["memory_bytes"]):
            options += ["--memory", str(memory), "--memory-swap", str(memory)]
        if cpus := float(self.plan["container"]["cpus"]):
            options += ["--cpus", f"{cpus:g}"]
        output = (self.workspace / "output", f"{OURS}/output", "rw")
        for outside, place, mode in [*self.mounts(), output]:
            options += ["--volume", f"{outside}:{place}:{mode}"]
        return ["run", *options, *self._gpus(), "--entrypoint", "/bin/sh", self.image, "-c", HOLD]

    def _gpus(self) -> list[str]:
        if os.path.exists("/dev/nvidiactl") and shutil.which("nvidia-container-runtime"):
            return ["--gpus", "all"]
        if os.path.exists("/dev/kfd"):
            return ["--device", "/dev/kfd", "--device", "/dev/dri"]
        return []

    def command(self, rank: int, argv: Sequence[str]) -> list[str]:
        """How the engine is called."""
        inner = ["/bin/sh", "-c", ENTER_AND_TELL, str(rank), *argv]
        return [self.program, "exec", "--interactive", "--workdir", WORK, self._name, *inner]

    def code(self, rank: int, code: int) -> int:
        """What the shell in there has noted: the client knows less, and may have been cut off."""
        try:
            noted = int((self.private / f"{rank}.end").read_text(encoding="ascii"))
            by_signal = (self.private / f"{rank}.signal").stat().st_size > 0
        except (OSError, ValueError):
            # The shell itself was killed, as everything in a container is at its end.
            return -signal.SIGKILL if code == 128 + signal.SIGKILL else code or 1
        return 128 - noted if by_signal and noted > 128 else noted

    def _send(self, script: str) -> None:
        """Without waiting for it. The children are kept: one that is dropped would be asked for its end."""
        command = [self.program, "exec", self._name, "/bin/sh", "-c", script]
        with contextlib.suppress(OSError):
            self._errands.append(
                subprocess.Popen(
                    command,
                    env=self.env,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    process_group=0,
                )
            )

    def _do(self, *arguments: str) -> tuple[int, str]:
        """Exit code and last line of an engine's command."""
        try:
            done = subprocess.run(
                [self.program, *arguments],
                env=self.env,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=ENGINE_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return 1, f"{self.program} {arguments[0]}: {error}"
        said = (done.stdout if not done.returncode else done.stderr).strip().splitlines()
        return done.returncode, said[-1] if said else ""


def _half_of_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
