"""Logs of chaosd's own processes: one JSON object a line on standard error, which the starter appends to a file.

Never per event: what happens to envelopes is in the journal, what happened to a run are its facts. A log is for what
neither has a place for, such as a fact that could not be written.
"""

from __future__ import annotations

import sys
from functools import cache
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    import structlog


@cache
def of(process: str) -> structlog.typing.FilteringBoundLogger:
    """The logger of this process, which is set up when something is to be logged for the first time."""
    import structlog  # noqa: PLC0415 - most processes of a run end without a line, and it takes long to load

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
