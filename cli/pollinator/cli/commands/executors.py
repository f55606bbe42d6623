"""``pollinator executors``."""

from __future__ import annotations

import click

from pollinator.cli.group import Command, Lazy, LazyGroup
from pollinator.cli.options import complete_executors, json_option

_HERE = "pollinator.cli.commands.executors"
_CHANGES = "pollinator.cli.commands.executors_change"
_CERTIFICATE = "pollinator.cli.commands.executors_certificate"


@click.command(
    "executors",
    cls=LazyGroup,
    short_help="List the places where runs can go.",
    invoke_without_command=True,
    lazy={
        "list": Lazy(_HERE, "list_executors", "List all executors."),
        "show": Lazy(_HERE, "show_executor", "Show what one executor is and can do."),
        "add": Lazy(_CHANGES, "add_executor", "Add a place where runs can go, and connect to it."),
        "set": Lazy(_CHANGES, "set_executor", "Change settings of an executor."),
        "connect": Lazy(_CHANGES, "connect_executor", "Connect to an executor now."),
        "login": Lazy(_CHANGES, "login_executor", "Log in where an executor is."),
        "certificate": Lazy(
            _CERTIFICATE,
            "executor_certificate",
            "Make the certificates for an executor at grpcs:// or kube://.",
        ),
        "remove": Lazy(_CHANGES, "remove_executor", "Forget an executor."),
    },
    examples=(
        "pollinator executors",
        "pollinator executors show local",
        "pollinator executors add lumi ssh://ada@lumi.example.org --set slurm.account=project_1",
    ),
)
@json_option("Print each executor as a JSON object, one a line.")
@click.pass_context
def executors_command(ctx: click.Context, as_json: bool) -> int:
    """List the places where runs can go."""
    from pollinator.cli.session import run_async

    return run_async(_list(as_json=as_json)) if ctx.invoked_subcommand is None else 0


@click.command(
    "list", cls=Command, short_help="List all executors.", examples=("pollinator executors list --json",)
)
@json_option("Print each executor as a JSON object, one a line.")
def list_executors(as_json: bool) -> int:
    """List all executors, reachable or not."""
    from pollinator.cli.session import run_async

    return run_async(_list(as_json=as_json))


@click.command(
    "show",
    cls=Command,
    short_help="Show what one executor is and can do.",
    examples=("pollinator executors show local",),
)
@json_option()
@click.argument("name", metavar="NAME", shell_complete=complete_executors)
def show_executor(name: str, as_json: bool) -> int:
    """Show what one executor is and can do."""
    from pollinator.cli.session import run_async

    return run_async(_show(name, as_json=as_json))


async def _list(*, as_json: bool) -> int:
    from pollinator.cli.connect import connected
    from pollinator.cli.exits import Exit
    from pollinator.cli.plain import json_text, plain
    from pollinator.cli.sites import reach_word, runs_text, trouble
    from pollinator.cli.table import print_table
    from pollinator.cli.terminal import Terminal
    from pollinator.v1.executor_pb2 import ListExecutorsRequest

    terminal = Terminal()
    async with connected(terminal) as daemon:
        answer = await daemon.ask(daemon.registry.ListExecutors, ListExecutorsRequest())
    if as_json:
        for each in answer.executors:
            terminal.print(json_text(plain(each)))
        return int(Exit.OK)
    rows = [
        [
            each.name,
            each.kind or "-",
            reach_word(each),
            runs_text(each),
            each.address,
            trouble(each) or "-",
        ]
        for each in answer.executors
    ]
    print_table(terminal, ["EXECUTOR", "KIND", "REACH", "RUNS", "ADDRESS", "DETAIL"], rows)
    for each in answer.executors:
        if each.fix:
            terminal.hint(each.fix)
    return int(Exit.OK)


async def _show(name: str, *, as_json: bool) -> int:
    from pollinator.cli.connect import CONNECT_S, connected
    from pollinator.cli.exits import Exit
    from pollinator.cli.plain import json_text, plain
    from pollinator.cli.sites import describe_executor
    from pollinator.cli.terminal import Terminal
    from pollinator.v1.executor_pb2 import DescribeRequest

    terminal = Terminal()
    async with connected(terminal) as daemon:
        answer = await daemon.ask(
            daemon.executors.Describe, DescribeRequest(executor=name), timeout_s=CONNECT_S
        )
    if as_json:
        terminal.print(json_text(plain(answer.executor)))
    else:
        for line in describe_executor(answer.executor):
            terminal.print(line)
    return int(Exit.OK)
