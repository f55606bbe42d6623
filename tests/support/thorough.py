"""How much tests that could go on for ever do: little in the usual run, much with POLLINATOR_THOROUGH=1."""

from __future__ import annotations

import os

THOROUGH = bool(os.environ.get("POLLINATOR_THOROUGH"))


def times(usual: int, thorough: int) -> int:
    """How often, for this run."""
    return thorough if THOROUGH else usual
