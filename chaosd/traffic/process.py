"""How generator and tap begin and end as processes: configuration, errors, exit code."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable

from aiokafka.errors import KafkaError

from chaosd.kernel.clock import Clock, SystemClock
from chaosd.kernel.errors import ChaosdError, StackError, UsageError
from chaosd.process.control import Parent
from chaosd.traffic.config import Config, read_config

Work = Callable[[Config, Clock, Parent], Awaitable[None]]


def run_process(work: Work, arguments: list[str]) -> int:
    """Do the work with the configuration named by the one argument. An error is told to the parent and to the log."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(asctime)s %(name)s %(message)s")
    # An outage makes the client write some hundred lines a second; what they say is in the rows, by error class.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    parent = Parent.open()
    try:
        if len(arguments) != 1:
            raise UsageError("expected one argument: the configuration file")
        asyncio.run(_run(work, read_config(arguments[0]), parent))
    except ChaosdError as error:
        return _tell(parent, error)
    except BaseExceptionGroup as group:
        known = group.subgroup((ChaosdError, KafkaError))
        if known is None or group.split((ChaosdError, KafkaError))[1] is not None:
            raise
        return _tell(parent, _first(known))
    except KafkaError as error:
        return _tell(parent, StackError(f"Kafka: {error!r}"))
    return 0


async def _run(work: Work, config: Config, parent: Parent) -> None:
    await work(config, SystemClock(), parent)


def _first(group: BaseExceptionGroup[BaseException]) -> ChaosdError:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error if isinstance(error, ChaosdError) else StackError(f"Kafka: {error!r}")


def _tell(parent: Parent, error: ChaosdError) -> int:
    code = int(error.exit_code)
    parent.emit(
        {"event": "error", "message": error.message, "remedy": error.remedy, "detail": error.detail, "exit": code}
    )
    sys.stderr.write(f"{error}\n")
    return code
