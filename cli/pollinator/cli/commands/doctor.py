"""``pollinator doctor``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pollinator.cli.group import Command
from pollinator.cli.options import json_option, project_option

if TYPE_CHECKING:
    from pollinator.cli.selfcheck import Finding
    from pollinator.cli.terminal import Terminal


@click.command(
    "doctor",
    cls=Command,
    short_help="Find out what is wrong.",
    examples=("pollinator doctor", "pollinator doctor --json"),
)
@project_option()
@json_option("Print each check as a JSON object, one a line.")
def doctor_command(project: Path | None, as_json: bool) -> int:
    """Check the installation, the daemon, the executors, and the project this is called in or else all.

    The exit code is 1 when a check failed; warnings do not count.
    """
    from pollinator.cli.folder import project_or_any
    from pollinator.cli.session import run_async

    return run_async(_doctor(project_or_any(project), as_json=as_json))


async def _doctor(root: str, *, as_json: bool) -> int:
    import os

    from pollinator.cli.exits import Exit
    from pollinator.cli.selfcheck import Grade, check_installation
    from pollinator.cli.terminal import Terminal

    terminal = Terminal()
    findings = [*check_installation(os.environ), *await _daemon_findings(root, terminal)]
    if as_json:
        _print_json(findings, terminal)
    else:
        _print(findings, terminal)
    failed = any(each.grade is Grade.FAILED for each in findings)
    return int(Exit.FAILED if failed else Exit.OK)


async def _daemon_findings(root: str, terminal: Terminal) -> list[Finding]:
    from pollinator.cli.about import program_version
    from pollinator.cli.connect import LONG_S, connected
    from pollinator.cli.selfcheck import Finding, Grade
    from pollinator.v1.daemon_pb2 import CheckStatus, DiagnoseRequest
    from pollinator.wire.errors import PollinatorError

    grades = {CheckStatus.CHECK_STATUS_OK: Grade.OK, CheckStatus.CHECK_STATUS_FAILED: Grade.FAILED}
    try:
        async with connected(terminal) as daemon:
            info = daemon.info
            same = info.version == program_version()
            answer = await daemon.ask(daemon.daemon.Diagnose, DiagnoseRequest(root=root), timeout_s=LONG_S)
    except PollinatorError as error:
        return [Finding("daemon", Grade.FAILED, error.message, error.hint)]
    grade, hint = (
        (Grade.OK, "") if same else (Grade.WARNING, "pollinator daemon restart; runs go on meanwhile")
    )
    return [
        Finding("daemon", grade, f"version {info.version}, process {info.pid}", hint),
        *(
            Finding(check.name, grades.get(check.status, Grade.WARNING), check.detail, check.hint)
            for check in answer.checks
        ),
    ]


def _print_json(findings: Sequence[Finding], terminal: Terminal) -> None:
    from pollinator.cli.plain import json_text

    for each in findings:
        words = {"name": each.name, "status": each.grade.value, "detail": each.detail, "hint": each.hint}
        terminal.print(json_text(words))


def _print(findings: Sequence[Finding], terminal: Terminal) -> None:
    from pollinator.cli.selfcheck import Grade
    from pollinator.cli.terminal import GREEN, RED, YELLOW, painted

    colours = {Grade.OK: GREEN, Grade.WARNING: YELLOW, Grade.FAILED: RED}
    for each in findings:
        mark = painted(f"{each.grade.value:<8}", colours[each.grade], terminal.colour_out)
        terminal.print(f"{mark} {each.name}: {each.detail}")
        if each.hint and each.grade is not Grade.OK:
            terminal.print(f"{'':<8}   -> {each.hint}")
