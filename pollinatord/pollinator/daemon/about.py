"""What is being worked on, so that every line of the log can say so: the run, the project.

Kept in the context of the task, which its threads inherit. For the log alone: nothing may decide by it.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import Context, ContextVar

_keys: ContextVar[Mapping[str, str]] = ContextVar("about")


@contextmanager
def about(**keys: str) -> Generator[None]:
    """What is logged until the block ends is about these as well."""
    token = _keys.set({**known(), **_meant(keys)})
    try:
        yield
    finally:
        _keys.reset(token)


def only_about(**keys: str) -> Context:
    """The context of a task that is about these, whoever starts it."""
    context = Context()
    context.run(_keys.set, _meant(keys))
    return context


def known() -> Mapping[str, str]:
    """What is being worked on here."""
    return _keys.get({})


def _meant(keys: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in keys.items() if value}
