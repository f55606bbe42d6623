"""``pollinator completion``."""

from __future__ import annotations

import click

from pollinator.cli.group import Command


@click.command(
    "completion",
    cls=Command,
    short_help="Print the completion script for a shell.",
    examples=(
        'eval "$(pollinator completion bash)"                 # in ~/.bashrc',
        'eval "$(pollinator completion zsh)"                  # in ~/.zshrc, after compinit',
        "pollinator completion fish > ~/.config/fish/completions/pollinator.fish",
    ),
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion_command(shell: str) -> int:
    """Print the completion script for a shell.

    Ids of runs and names of executors are completed as well, from a daemon that runs already.
    """
    from click.shell_completion import get_completion_class

    from pollinator.cli.exits import Exit

    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"no completion for {shell}")
    root = click.get_current_context().find_root().command
    script = found(root, {}, "pollinator", "_POLLINATOR_COMPLETE")
    # Not script.source(): that starts a bash only to see its version.
    click.echo(script.source_template % script.source_vars())
    return int(Exit.OK)
