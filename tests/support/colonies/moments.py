"""Times as the server writes them: RFC 3339 in its own zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo

NEVER = -1
"""Stands for the year 1."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_YEAR_1 = datetime(5, 1, 1, tzinfo=UTC)
"""Four years late: west of Greenwich it is of the year 0, which Python does not have."""


def written(time_ns: int, zone: tzinfo, *, exact: bool = False) -> str:
    """A time.

    Args:
        time_ns: since 1970, or NEVER.
        zone: of the server.
        exact: it does not come from the database, which keeps microseconds.
    """
    if time_ns == NEVER:
        local = _YEAR_1.astimezone(zone)
        return f"{local.year - 4:04d}{local:-%m-%dT%H:%M:%S}{_away(local)}"
    if not exact:
        time_ns = (time_ns + 500) // 1000 * 1000
    seconds, fraction = divmod(time_ns, 10**9)
    digits = f".{fraction:09d}".rstrip("0").rstrip(".")
    local = (_EPOCH + timedelta(seconds=seconds)).astimezone(zone)
    return f"{local:%Y-%m-%dT%H:%M:%S}{digits}{_away(local)}"


def _away(local: datetime) -> str:
    """From Greenwich. Before there were zones a place had its own time, with seconds, which are left out."""
    away = local.utcoffset() or timedelta()
    if not away:
        return "Z"
    minutes = int(abs(away).total_seconds()) // 60
    return f"{'-' if away < timedelta() else '+'}{minutes // 60:02d}:{minutes % 60:02d}"
