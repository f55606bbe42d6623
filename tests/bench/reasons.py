"""Why a row is not met: the page shows a reason only where its row misses something."""

from __future__ import annotations

REASONS: dict[str, str] = {}
