"""Options and arguments that several commands share, and what completes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

Function = TypeVar("Function", bound=Callable[..., Any])
Decorator = Callable[[Function], Function]


def complete_runs(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Ids of runs, newest first."""
    from pollinator.cli.complete import run_ids

    return [CompletionItem(run_id, help=text) for run_id, text in run_ids(incomplete)]


def complete_executors(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of executors."""
    from pollinator.cli.complete import executor_names

    return [CompletionItem(name, help=text) for name, text in executor_names(incomplete)]


def run_argument(*, default: str | None = None) -> Decorator[Any]:
    """RUN: an id, a unique prefix of one, ``latest``, or ``latest~1`` for the one before."""
    if default is None:
        # A default of None would count as one: nothing would be asked for.
        return click.argument("run_id", metavar="RUN", shell_complete=complete_runs)
    return click.argument("run_id", metavar="[RUN]", default=default, shell_complete=complete_runs)


def json_option(text: str = "Print one JSON object.") -> Decorator[Any]:
    """``--json``."""
    return click.option("--json", "as_json", is_flag=True, help=text)


def project_option(
    text: str = "Folder of the project; default: the nearest folder upwards with a project.yaml.",
) -> Decorator[Any]:
    """``--project``."""
    return click.option(
        "--project",
        "project",
        type=click.Path(path_type=Path, file_okay=False),
        metavar="DIR",
        help=text,
    )


def override_options(function: Function) -> Function:
    """What ``run`` and ``rerun`` may change for one run."""
    for option in reversed(
        (
            click.option(
                "--on",
                "executor",
                metavar="EXECUTOR",
                default="",
                shell_complete=complete_executors,
                help="Run on this executor.",
            ),
            click.option(
                "--set",
                "settings",
                metavar="KEY=VALUE",
                multiple=True,
                help="Change a setting, for example conditions.mem=4Gi.",
            ),
            *_variable_options(),
            click.option(
                "--require-container",
                is_flag=True,
                help="Refuse to run without a container engine when an image is named.",
            ),
        )
    ):
        function = option(function)
    return function


def _variable_options() -> tuple[Decorator[Any], Decorator[Any]]:
    """``--env`` and ``--secret-file``."""
    return (
        click.option(
            "--env",
            "environment",
            metavar="NAME[=VALUE]",
            multiple=True,
            help="Set a variable for every rank; without =VALUE it is taken from here.",
        ),
        click.option(
            "--secret-file",
            "secret_files",
            metavar="FILE",
            multiple=True,
            type=click.Path(dir_okay=False, allow_dash=True),
            help="Set variables that are never recorded: NAME=VALUE a line; - is stdin.",
        ),
    )


def follow_options(function: Function) -> Function:
    """How ``run`` and ``rerun`` follow."""
    for option in reversed(
        (
            click.option(
                "-f", "--follow", is_flag=True, help="Print the output and end with the job's exit code."
            ),
            *output_style_options(),
            click.option(
                "--cancel-on-interrupt", is_flag=True, help="With --follow: Ctrl-C cancels the run."
            ),
            problems_option(),
            click.option("--count", type=int, hidden=True, help="Accepted for older scripts; has no effect."),
        )
    ):
        function = option(function)
    return function


def problems_option() -> Decorator[Any]:
    """``--problems``."""
    return click.option(
        "--problems",
        is_flag=True,
        help="With --follow: after a failure, say which places in the sources its output names.",
    )


def output_style_options() -> tuple[Decorator[Any], Decorator[Any]]:
    """``--label`` and ``--raw``."""
    return (
        click.option(
            "--label", is_flag=True, help="Begin each line with its rank; default for several ranks."
        ),
        click.option("--raw", is_flag=True, help="Print bytes as they come; default for one rank."),
    )
