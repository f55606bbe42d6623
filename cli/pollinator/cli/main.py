"""Entry point of ``pollinator``: the table of commands, and where errors become words and exit codes."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import click

from pollinator.cli.exits import Exit, code_of_error
from pollinator.cli.group import Lazy, LazyGroup
from pollinator.cli.terminal import Terminal
from pollinator.wire.errors import PollinatorError


def _at(module: str, text: str, attribute: str = "") -> Lazy:
    return Lazy(f"pollinator.cli.commands.{module}", attribute or f"{module}_command", text)


COMMANDS = {
    "new": _at("new", "Make a new project."),
    "run": _at("run", "Run the project as it is on disk now."),
    "dev": _at("dev", "Run the project again at every save."),
    "list": _at("list", "List runs, newest first."),
    "show": _at("show", "Show everything about a run."),
    "explain": _at("explain", "Say why a run waits, and when it may start."),
    "logs": _at("logs", "Print what a run printed."),
    "problems": _at("problems", "Say which places in the sources a failed run names."),
    "cancel": _at("cancel", "End runs before their time."),
    "wait": _at("wait", "Wait until runs have ended."),
    "pull": _at("pull", "Fetch the results of a run."),
    "rerun": _at("rerun", "Run again exactly what an earlier run ran."),
    "diff": _at("diff", "Show what changed between two runs."),
    "checkout": _at("checkout", "Restore the files a run ran with."),
    "status": _at("status", "Show the daemon, its projects and active runs."),
    "ignored": _at("ignored", "Say which paths are left out, and why."),
    "pin": _at("pin", "Keep the files and results of a run for ever."),
    "unpin": _at("pin", "Keep a run no longer than others.", "unpin_command"),
    "sync": _at("sync", "Wait until what is on disk is in the store."),
    "gc": _at("gc", "Remove what nobody needs from the store."),
    "fsck": _at("fsck", "Check that all is in the store that should be."),
    "images": _at("images", "Container images that are kept ready for runs."),
    "executors": _at("executors", "List the places where runs can go."),
    "doctor": _at("doctor", "Find out what is wrong."),
    "funcspec": _at("funcspec", "Print what a colony would be given to run."),
    "config": _at("config", "Show settings and where they come from."),
    "schema": _at("schema", "Print the JSON Schema of project.yaml."),
    "daemon": _at("daemon", "Start, stop and look at the daemon."),
    "completion": _at("completion", "Print the completion script for a shell."),
    "version": _at("version", "Print versions."),
    "help": _at("help", "Explain a command or a topic: runs, exit-codes, environment."),
}


def _print_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from pollinator.cli.about import program_version

        click.echo(f"pollinator {program_version()}")
        ctx.exit()


@click.command(
    cls=LazyGroup,
    name="pollinator",
    lazy=COMMANDS,
    aliases={"ps": "list", "stop": "cancel"},
    examples=(
        "pollinator new demo && cd demo",
        "pollinator run --follow",
        "pollinator list",
        "pollinator help exit-codes",
    ),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Data and job output go to stdout, messages to stderr.",
)
@click.option("-v", "--verbose", is_flag=True, help="Say more when something goes wrong.")
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_print_version,
    help="Print the version.",
)
def cli(verbose: bool) -> None:
    """Save a file, press run: batch jobs on this machine and elsewhere."""


def main() -> NoReturn:
    """Run the command line of this process and exit."""
    # gRPC complains on stderr about connections that are retried anyway, and about every child process.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    code = run_command_line(sys.argv[1:])
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        code = _reader_gone()
    # What Python and gRPC would clean up ends with the process, and takes longer than most commands.
    os._exit(code)


def run_command_line(args: list[str]) -> int:
    """Run one command and return its exit code; whatever went wrong was told on stderr."""
    verbose = any(each in ("-v", "--verbose") for each in args[:1]) or bool(
        os.environ.get("POLLINATOR_VERBOSE")
    )
    try:
        result = cli.main(args, prog_name="pollinator", standalone_mode=False)
    except PollinatorError as error:
        tell(error, Terminal())
        return code_of_error(error)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        return int(Exit.INTERRUPTED)
    except (BrokenPipeError, SystemExit):
        # click makes the second of the first.
        return _reader_gone()
    except Exception as error:  # noqa: BLE001 - the root guard: a defect is told in one line, not in forty
        return _defect(error, verbose)
    return result if isinstance(result, int) else int(Exit.OK)


def tell(error: PollinatorError, terminal: Terminal) -> None:
    """What happened, each thing that is wrong with the place where it is, and what to do."""
    terminal.fail(error.message)
    for each in error.violations:
        terminal.say(f"  {each.where}: {each.message}")
    if error.hint:
        terminal.hint(error.hint)


def _reader_gone() -> int:
    # Python flushes stdout once more when it ends; with nobody reading, that would complain.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return int(Exit.BROKEN_PIPE)


def _defect(error: Exception, verbose: bool) -> int:
    terminal = Terminal()
    if verbose:
        import traceback

        terminal.say("".join(traceback.format_exception(error)).rstrip())
    terminal.fail(f"internal error: {type(error).__name__}: {error}")
    terminal.hint("this is a defect; `pollinator -v ...` shows where")
    return int(Exit.DEFECT)


if __name__ == "__main__":
    main()
