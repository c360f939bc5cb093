"""Structured logs of what the program does, one event name per fact; for those who debug the program, not the incident.

Off unless `rollback --verbose` or `rollback serve` turned it on: then to standard error, as JSON when that is no
terminal. Until then `event` costs one comparison, and structlog is not even imported: the kill path counts
milliseconds.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any

_logger: Any = None


def configure() -> None:
    """Turns the logs on for this process."""
    global _logger
    import structlog

    renderer: Any = structlog.dev.ConsoleRenderer() if sys.stderr.isatty() else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    _logger = structlog.get_logger()


def event(name: str, **facts: object) -> None:
    """Logs one fact. Callers give no secrets and no content of answers. A log that cannot be written stops nothing."""
    if _logger is not None:
        with suppress(OSError, ValueError):  # the pipe to whoever reads it may be gone
            _logger.info(name, **facts)
