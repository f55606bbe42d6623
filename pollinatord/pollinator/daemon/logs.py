"""The daemon's log: one JSON object a line, with the run and project it is about, rotated by size."""

from __future__ import annotations

import json
import logging
import logging.handlers
from datetime import UTC, datetime
from pathlib import Path

from pollinator.daemon.about import known
from pollinator.daemon.settings import Settings
from pollinator.wire.places import private_dir


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **known(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


def start_logging(path: Path, settings: Settings) -> None:
    """Send everything that is logged from now on to ``path``."""
    private_dir(path.parent)
    handler = logging.handlers.RotatingFileHandler(
        path, maxBytes=settings.log_bytes, backupCount=settings.log_files, encoding="utf-8"
    )
    handler.setFormatter(_JsonLines())
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    # Libraries speak up only when something is wrong: a store's client logs every request otherwise.
    for library in ("boto3", "botocore", "urllib3", "watchdog", "asyncio"):
        logging.getLogger(library).setLevel(logging.WARNING)
