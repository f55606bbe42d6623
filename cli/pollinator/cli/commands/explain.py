"""``pollinator explain``."""

from __future__ import annotations

import click

from pollinator.cli.group import Command
from pollinator.cli.options import json_option, run_argument


@click.command(
    "explain",
    cls=Command,
    short_help="Say why a run waits, and when it may start.",
    examples=("pollinator explain", "pollinator explain 01jb2 --json"),
)
@json_option()
@run_argument(default="latest")
def explain_command(run_id: str, as_json: bool) -> int:
    """Say why a run waits, what can be done, and when it may start.

    The executor asks its backend now, which is more than `pollinator show` does: a start time is an estimate
    that a batch system works out on demand.
    """
    from pollinator.cli.session import run_async

    return run_async(_explain(run_id, as_json=as_json))


async def _explain(run_id: str, *, as_json: bool) -> int:
    from pollinator.cli.connect import connected
    from pollinator.cli.describe import describe_waiting
    from pollinator.cli.exits import Exit
    from pollinator.cli.folder import project_or_any
    from pollinator.cli.follow import find_run
    from pollinator.cli.plain import json_text, plain
    from pollinator.cli.terminal import Terminal
    from pollinator.cli.view import ENDS
    from pollinator.v1.executor_pb2 import ExplainRequest, ExplainResponse

    terminal = Terminal()
    async with connected(terminal) as daemon:
        run = await find_run(daemon, run_id, project_or_any())
        answer = ExplainResponse()
        if run.state not in ENDS:
            answer = await daemon.ask(daemon.executors.Explain, ExplainRequest(run_id=run.id, estimate=True))
    run.ClearField("pending")
    if answer.HasField("pending"):
        run.pending.CopyFrom(answer.pending)
    if as_json:
        terminal.print(json_text(plain(run.pending)))
        return int(Exit.OK)
    for line in describe_waiting(run):
        terminal.print(line)
    return int(Exit.OK)
