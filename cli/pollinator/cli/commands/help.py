"""``pollinator help``."""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem

from pollinator.cli.group import Command

_RUNS = """\
01m89jd3qnn6s5x571x9r4e79p   a run's id, as `pollinator list` shows it
01m89jd3q                    any beginning that only one run has
latest                       the newest run: of this project inside of one, of all outside
latest~1                     the one before it, and so on"""

_ENVIRONMENT = """\
POLLINATOR_STORE          store of the projects: folder:/path or s3://bucket/prefix
AWS_S3_ENDPOINT, AWS_S3_BUCKET, AWS_S3_ACCESSKEY, AWS_S3_SECRETKEY, AWS_S3_REGION,
AWS_S3_TLS, AWS_S3_SKIPVERIFY, AWS_S3_ADDRESSING, AWS_CA_BUNDLE
                          store in an S3 bucket; without keys the standard AWS chain is asked
POLLINATOR_NO_AUTOSTART   1: never start the daemon by itself
POLLINATOR_VERBOSE        1: say more when something goes wrong, as -v does
POLLINATOR_LOG_LEVEL, POLLINATOR_LOG_BYTES, POLLINATOR_LOG_FILES, POLLINATOR_WATCH,
POLLINATOR_UPLOAD_LIMIT, POLLINATOR_DOWNLOAD_LIMIT, POLLINATOR_TRANSFERS
                          settings of a daemon that starts: see docs/daemon.md
NO_COLOR                  anything: no colour
FORCE_COLOR, CLICOLOR_FORCE
                          1: colour even where stdout is no terminal
XDG_CONFIG_HOME, XDG_STATE_HOME, XDG_CACHE_HOME, XDG_RUNTIME_DIR
                          where settings, state, caches and the socket are"""

_TOPICS = {"environment": _ENVIRONMENT, "runs": _RUNS}


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    group = ctx.find_root().command
    commands = group.list_commands(ctx) if isinstance(group, click.Group) else []
    names = [*commands, "exit-codes", *_TOPICS]
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


@click.command(
    "help",
    cls=Command,
    short_help="Explain a command or a topic: runs, exit-codes, environment.",
    examples=("pollinator help run", "pollinator help exit-codes", "pollinator help environment"),
)
@click.argument("topic", metavar="[COMMAND|TOPIC]...", nargs=-1, shell_complete=_complete)
@click.pass_context
def help_command(ctx: click.Context, topic: tuple[str, ...]) -> int:
    """Explain a command, or one of the topics `runs`, `exit-codes` and `environment`."""
    from pollinator.cli.exits import TABLE, Exit

    match topic:
        case ("exit-codes",):
            for row in TABLE:
                click.echo(f"{row.code.value:>4}  {row.meaning}")
            click.echo("other  the job's own exit code; 128 + N when signal N ended it")
        case (("environment" | "runs") as name,):
            click.echo(_TOPICS[name])
        case _:
            click.echo(_help_of(ctx.find_root(), topic))
    return int(Exit.OK)


def _help_of(root: click.Context, names: tuple[str, ...]) -> str:
    context = root
    for name in names:
        group = context.command
        if not isinstance(group, click.Group):
            raise click.UsageError(f"{context.command_path} has no commands of its own")
        _, command, _ = group.resolve_command(context, [name])
        if command is None:
            raise click.UsageError(f"no such command: {name}")
        context = click.Context(command, info_name=name, parent=context)
    return context.get_help()
