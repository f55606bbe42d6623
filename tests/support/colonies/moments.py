"""Times as the server writes them: RFC 3339 in its own zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo

NEVER = -1
"""Stands for the year 1."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_YEAR_1 = datetime(1, 1, 1, tzinfo=UTC)


def written(time_ns: int, zone: tzinfo, *, exact: bool = False) -> str:
    """A time.

    Args:
        time_ns: since 1970, or NEVER.
        zone: of the server.
        exact: it does not come from the database, which keeps microseconds.
    """
    if time_ns == NEVER:
        # Before there were zones a place had its own time, with seconds, which are left out: +01:12.
        return _in(_YEAR_1, zone)
    if not exact:
        time_ns = (time_ns + 500) // 1000 * 1000
    seconds, fraction = divmod(time_ns, 10**9)
    digits = f".{fraction:09d}".rstrip("0").rstrip(".")
    return _in(_EPOCH + timedelta(seconds=seconds), zone, digits)


def _in(moment: datetime, zone: tzinfo, fraction: str = "") -> str:
    local = moment.astimezone(zone)
    away = local.utcoffset() or timedelta()
    text = local.replace(tzinfo=None).isoformat(timespec="seconds")
    if not away:
        return f"{text}{fraction}Z"
    minutes = int(abs(away).total_seconds()) // 60
    sign = "-" if away < timedelta() else "+"
    return f"{text}{fraction}{sign}{minutes // 60:02d}:{minutes % 60:02d}"
