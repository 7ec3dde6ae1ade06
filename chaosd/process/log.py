"""Logs of chaosd's own processes: one JSON object a line on standard error, which the starter appends to a file.

Never per event: what happens to envelopes is in the journal, what happened to a run are its facts. A log is for what
neither has a place for, such as a fact that could not be written.
"""

from __future__ import annotations

import sys

import msgspec
import structlog


def configure(process: str) -> structlog.typing.FilteringBoundLogger:
    """Set this process's log up and give its logger."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(serializer=_json),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(process=process)
    return logger


def _json(value: object, **_options: object) -> str:
    return msgspec.json.encode(value, enc_hook=str).decode()
