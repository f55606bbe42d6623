"""Runs Slurm's programs, each with a deadline and a clean environment, and says what their failures mean.

What they print is for others to read. Nothing here tries again: who asks knows how urgent it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pollinator.wire.errors import (
    SHOW_EXECUTOR,
    Denied,
    InvalidInput,
    NotFound,
    PollinatorError,
    Unavailable,
    WrongState,
)
from pollinator.wire.starting import started

QUERY_S = 30.0
"""A program that finds no controller gives up after 9 s; one of a busy cluster may take longer to answer."""
SUBMIT_S = 60.0
PIPES_S = 1.0
"""So long what is left in the pipes of a program that has ended may take to be read."""
TOGETHER = 4
"""Processes of one program at a time: a login node is shared by many people."""
ALONE = frozenset({"squeue", "sacct"})
"""Of these one at a time: each is a question about many jobs."""
OUTPUT_BYTES = 64 << 20
BLOCK_BYTES = 1 << 16

KEPT = frozenset({"SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_JWT"})
"""Where Slurm is and who we are; all other variables of its own change what its programs do or print."""
CLEARED = re.compile(r"(?:SLURM|SBATCH|SALLOC|SRUN|SQUEUE|SACCT|SACCTMGR|SINFO|SCONTROL|SCANCEL)_")


@dataclass(frozen=True, slots=True)
class Said:
    """What a program printed, and how it ended."""

    program: str
    out: str
    err: str
    code: int
    """Exit code; negative for a signal."""
    late: bool = False
    """It was ended because its time was over."""

    @property
    def words(self) -> str:
        """Slurm's own words about what went wrong, on one line."""
        lines = [_PREFIX.sub("", line).strip() for line in self.err.splitlines()]
        return "; ".join(dict.fromkeys(line for line in lines if line)) or f"exit code {self.code}"


_PREFIX = re.compile(r"^\s*\w+: (?:error|fatal): ")


class Commands:
    """Slurm's programs on this machine, as they are found on PATH."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self._environment = clean(os.environ if environment is None else environment)
        self._rooms: dict[str, asyncio.Semaphore] = {}

    async def ask(self, program: str, *arguments: str, deadline_s: float = QUERY_S) -> str:
        """What a program prints. Times in it are UTC.

        Raises:
            NotFound: none of the jobs that are asked for is known.
            Unavailable: the controller or the database does not answer.
            WrongState: the program, or accounting, is not there.
            InvalidInput: Slurm does not like the question.
            Denied: it is for others to ask.
        """
        # The names of errors are the same in every language, and times need no zone.
        environment = self._environment | {"LC_ALL": "C", "TZ": "UTC"}
        said = await self._run(program, arguments, environment, deadline_s)
        if said.late:
            raise Unavailable(f"{program} did not answer within {deadline_s:g} s", reason="slurm_down")
        if said.code:
            raise failure(said)
        return said.out

    async def submit(self, script: str, folder: Path, *arguments: str) -> Said:
        """Hand a script to sbatch, which is run in ``folder``.

        Raises:
            Unavailable: ``slurm_down`` if it was not accepted, ``submit_unknown`` if nobody knows.
            InvalidInput: Slurm refuses it, in its own words.
            Denied: Slurm refuses the user.
            WrongState: there is no sbatch.
        """
        arguments = ("--parsable", *arguments)
        said = await self._run("sbatch", arguments, self._environment, SUBMIT_S, script, folder)
        if said.code == 0 or (said.late and said.out.strip()):
            return said
        if said.late or said.code < 0 or any(each in said.err for each in _SENT):
            raise Unavailable(
                f"sbatch was asked to submit the job, and its answer was lost: {said.words}",
                reason="submit_unknown",
                hint="the job is looked for before it is submitted again",
            )
        raise failure(said)

    async def _run(
        self,
        program: str,
        arguments: tuple[str, ...],
        environment: dict[str, str],
        deadline_s: float,
        text: str = "",
        folder: Path = Path("/"),
    ) -> Said:
        # Each has its own: many that wait for a controller must not hold up the one that sees it come back.
        room = self._rooms.setdefault(program, asyncio.Semaphore(1 if program in ALONE else TOGETHER))
        async with room:
            try:
                process = await _started(program, *arguments, env=environment, cwd=folder)
            except OSError as error:
                raise WrongState(
                    f"{program} cannot be run here: {error.strerror}",
                    reason="slurm_missing",
                    hint="the executor has to run where Slurm's programs are, as on a login node; see PATH",
                ) from error
            out, err = bytearray(), bytearray()
            late = False
            try:
                async with asyncio.timeout(deadline_s):
                    await _talk(process, text.encode(), out, err)
            except TimeoutError:
                late = True
            finally:
                code = await _end(process)
            return Said(program, _text(out), _text(err), code, late)


async def _started(*command: str, env: dict[str, str], cwd: Path) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    process = asyncio.create_subprocess_exec(
        *command, stdin=pipe, stdout=pipe, stderr=pipe, env=env, cwd=cwd, process_group=0
    )
    return await started(process, _end)


async def _talk(process: asyncio.subprocess.Process, text: bytes, out: bytearray, err: bytearray) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    async with asyncio.TaskGroup() as group:
        group.create_task(_write(process.stdin, text), name="to slurm")
        group.create_task(_read(process.stdout, out), name="from slurm")
        group.create_task(_read(process.stderr, err), name="from slurm, errors")
        await process.wait()


async def _write(pipe: asyncio.StreamWriter, text: bytes) -> None:
    # One that ends without having read says why in its words.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        pipe.write(text)
        await pipe.drain()
        pipe.close()
        await pipe.wait_closed()


async def _read(pipe: asyncio.StreamReader, into: bytearray) -> None:
    while block := await pipe.read(BLOCK_BYTES):
        if len(into) < OUTPUT_BYTES:
            into += block


async def _end(process: asyncio.subprocess.Process) -> int:
    if process.returncode is None:
        # Sites wrap these programs in scripts of their own: all that was started ends.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    code = await process.wait()
    # Who stops in the middle has not come to the end of its pipes, where alone the loop lets go of them.
    with contextlib.suppress(TimeoutError, OSError):
        async with asyncio.timeout(PIPES_S):
            for pipe in (process.stdout, process.stderr):
                while pipe is not None and await pipe.read(BLOCK_BYTES):
                    pass
            if process.stdin is not None:
                process.stdin.close()
                await process.stdin.wait_closed()
    return code


def _text(printed: bytearray) -> str:
    return printed.decode("utf-8", "replace")


def clean(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without what would change the answers of Slurm's programs."""
    return {name: value for name, value in environment.items() if name in KEPT or not CLEARED.match(name)}


# What failures mean

_SENT = (
    "(send failure)",
    "(receive failure)",
    "(shutdown failure)",
    "Message send failure",
    "Message receive failure",
    "Communication shutdown failure",
    "Socket timed out",
    "Zero Bytes were transmitted or received",
    "Unexpected message received",
    "Connection reset",
    "Connection timed out",
    "Broken pipe",
)
"""After these words of sbatch the controller may have the job: the connection was there."""


def _down(said: Said) -> PollinatorError:
    return Unavailable(
        f"Slurm's controller does not answer: {said.words}",
        reason="slurm_down",
        hint="what is queued or runs goes on; it is asked again",
    )


def _database_down(said: Said) -> PollinatorError:
    return Unavailable(
        f"Slurm's accounting does not answer: {said.words}",
        reason="slurm_accounting_down",
        hint="what is queued or runs goes on; it is asked again",
    )


def _no_accounting(_said: Said) -> PollinatorError:
    return WrongState("this cluster keeps no accounts of its jobs", reason="slurm_accounting_off")


def _no_cluster(said: Said) -> PollinatorError:
    return WrongState(
        f"{said.program} does not find its cluster: {said.words}",
        reason="slurm_missing",
        hint="the executor has to run where Slurm works, as on a login node; see SLURM_CONF",
    )


def _no_job(said: Said) -> PollinatorError:
    return NotFound(f"Slurm does not know the job: {said.words}", reason="slurm_job_missing")


def _denied(said: Said) -> PollinatorError:
    return Denied(f"Slurm refuses: {said.words}", reason="slurm_denied")


def _later(said: Said) -> PollinatorError:
    return Unavailable(f"Slurm does not do that now: {said.words}", reason="slurm_down")


def _refused(said: Said) -> PollinatorError:
    return InvalidInput(
        f"{said.program} refuses: {said.words}",
        reason="slurm_refused",
        hint=f"the partitions, accounts and limits of the cluster: {SHOW_EXECUTOR}",
    )


_MEANINGS: tuple[tuple[Callable[[Said], PollinatorError], tuple[str, ...]], ...] = (
    (_no_accounting, ("accounting storage is disabled",)),
    (_no_cluster, ("Could not establish a configuration source", "Unable to process configuration file")),
    (
        _database_down,
        (
            "slurm_persist_conn_open",
            "Problem talking to the database",
            "Sending PersistInit msg",
            "Unable to contact slurmdbd",
            "slurmdbd: Getting response to message",
        ),
    ),
    (
        _down,
        (
            *_SENT,
            "Unable to contact slurm controller",
            "Communication connection failure",
            "Connection refused",
            "Protocol authentication error",
            "Munge encode failed",
            "Resource temporarily unavailable",
            "slurmctld is starting up",
        ),
    ),
    (_later, ("try again later",)),
    (_no_job, ("Invalid job id specified",)),
    (_denied, ("Access/permission denied", "User not permitted", "Permission denied")),
)


def failure(said: Said) -> PollinatorError:
    """What it means that a program ended so."""
    for meaning, signs in _MEANINGS:
        if any(sign in said.err for sign in signs):
            return meaning(said)
    return _refused(said)
