"""Commands that cost nothing until they are used: a lazy group, help with examples first, typos answered.

The group knows each command's one-line help, so that ``--help`` and completion import no command.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


@dataclass(frozen=True, slots=True)
class Lazy:
    """Where a command is, and what the group says about it."""

    module: str
    attribute: str
    help: str


class Command(click.Command):
    """A command whose help begins with examples."""

    def __init__(self, *args: Any, examples: Sequence[str] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = tuple(examples)

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Examples, then the text."""
        _write_examples(self.examples, formatter)
        super().format_help_text(ctx, formatter)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse; a wrong option is answered with the closest one there is."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            raise _with_suggestion(error, _options(self, ctx)) from None


class LazyGroup(click.Group):
    """A group that imports a command when it is used."""

    def __init__(
        self,
        *args: Any,
        lazy: Mapping[str, Lazy],
        aliases: Mapping[str, str] | None = None,
        examples: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.lazy = dict(lazy)
        self.aliases = dict(aliases or {})
        self.examples = tuple(examples)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names in the order of the table, without aliases."""
        return list(self.lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command."""
        lazy = self.lazy.get(self.aliases.get(cmd_name, cmd_name))
        if lazy is None:
            return None
        from importlib import import_module

        command = getattr(import_module(lazy.module), lazy.attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{lazy.module}.{lazy.attribute} is no command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; a wrong name is answered with the closest one there is."""
        name = args[0]
        command = self.get_command(ctx, name)
        if command is not None:
            return command.name, command, args[1:]
        if name.startswith("-"):
            raise _with_suggestion(click.NoSuchOption(name, ctx=ctx), _options(self, ctx))
        names = [*self.lazy, *self.aliases]
        raise click.UsageError(f"no such command: {name}{_closest(name, names)}", ctx=ctx)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the group's own options."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            raise _with_suggestion(error, _options(self, ctx)) from None

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Examples, then the text."""
        _write_examples(self.examples, formatter)
        super().format_help_text(ctx, formatter)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table of commands, from the group's own words."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, lazy.help) for name, lazy in self.lazy.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Names of commands; of options only when one was begun."""
        from click.shell_completion import CompletionItem

        if incomplete.startswith("-"):
            return click.Command.shell_complete(self, ctx, incomplete)
        return [
            CompletionItem(name, help=lazy.help)
            for name, lazy in self.lazy.items()
            if name.startswith(incomplete)
        ]


def _write_examples(examples: Sequence[str], formatter: click.HelpFormatter) -> None:
    if not examples:
        return
    with formatter.section("Examples"):
        for example in examples:
            formatter.write(f"{' ' * formatter.current_indent}{example}\n")


def _options(command: click.Command, ctx: click.Context) -> list[str]:
    return [name for param in command.get_params(ctx) for name in (*param.opts, *param.secondary_opts)]


def _with_suggestion(error: click.NoSuchOption, options: Iterable[str]) -> click.UsageError:
    wrong = error.option_name
    known = [name for name in options if name.startswith("--")]
    return click.UsageError(f"no such option: {wrong}{_closest(wrong, known)}", ctx=error.ctx)


def _closest(wrong: str, known: Sequence[str]) -> str:
    from difflib import get_close_matches

    found = get_close_matches(wrong, known, n=1, cutoff=0.6) or [
        name for name in known if len(wrong) > 1 and name.startswith(wrong)
    ]
    return f" (did you mean {found[0]}?)" if found else ""
