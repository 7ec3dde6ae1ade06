"""Errors and client logs in an outage: counted, and at most one line a second of each kind."""

from __future__ import annotations

import logging
import sys
import time
from typing import TextIO

import structlog

_INTERVAL_S = 1.0
_KIND_LENGTH = 80  # of a client's message template: enough to tell kinds apart
_KINDS_MAX = 1000


class Noise:
    """Says the first of a kind at once and then, once a second, how many there were in between."""

    def __init__(self, log: structlog.typing.FilteringBoundLogger) -> None:
        self._log = log
        self._said_s: dict[str, float] = {}
        self._unsaid: dict[str, int] = {}

    def failed(self, step: str, error: BaseException) -> None:
        """A step failed and will be tried again."""
        kind = f"{type(error).__module__.partition('.')[0]}.{type(error).__name__}"
        self._say(f"{step} {kind}", "retrying", step=step, error_class=kind, error=str(error)[:200])

    def heard(self, record: logging.LogRecord) -> None:
        """A client library logged something."""
        kind = f"{record.name}: {str(record.msg)[:_KIND_LENGTH]}"
        self._say(kind, "client", logger=record.name, level=record.levelname, message=record.getMessage()[:200])

    def _say(self, kind: str, event: str, **fields: str) -> None:
        now_s = time.monotonic()
        self._unsaid[kind] = self._unsaid.get(kind, 0) + 1
        if now_s - self._said_s.get(kind, -_INTERVAL_S) < _INTERVAL_S:
            return
        if len(self._said_s) >= _KINDS_MAX:
            self._said_s.clear()
        self._said_s[kind] = now_s
        self._log.warning(event, **fields, count=self._unsaid.pop(kind))


class _Muffler(logging.Handler):
    def __init__(self, noise: Noise) -> None:
        super().__init__(logging.WARNING)
        self._noise = noise

    def emit(self, record: logging.LogRecord) -> None:
        self._noise.heard(record)


def open_log(stream: TextIO = sys.stderr) -> structlog.typing.FilteringBoundLogger:
    """A log of JSON lines on `stream`."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )
    log: structlog.typing.FilteringBoundLogger = structlog.get_logger()
    return log


def muffle_clients(noise: Noise) -> None:
    """Send what the client libraries log (about 200 lines a second in an outage) through `noise`."""
    root = logging.getLogger()
    root.handlers[:] = [_Muffler(noise)]
    root.setLevel(logging.WARNING)
