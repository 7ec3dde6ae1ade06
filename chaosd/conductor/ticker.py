"""What a person sees while a run goes on: a tick a few times a second."""

from __future__ import annotations

import asyncio
from collections import deque

from chaosd.conductor.context import Context
from chaosd.conductor.injections import Injections
from chaosd.conductor.instruments import Instruments
from chaosd.kernel.clock import SECOND

_PERIOD_S = 0.25
_RATE_WINDOW = 8  # ticks


async def tick(context: Context, instruments: Instruments, injections: Injections) -> None:
    """Emit the run's state until cancelled."""
    started_ns = context.clock.now_ns()
    past: deque[tuple[int, int, int]] = deque(maxlen=_RATE_WINDOW)
    while True:
        now = context.clock.now_ns()
        sent = instruments.generator.last.get("sent", 0)
        results = instruments.tap.last.get("output", 0) + instruments.tap.last.get("dlq", 0)
        past.append((now, sent, results))
        span_s = max((now - past[0][0]) / SECOND, _PERIOD_S)
        context.emit(
            {
                "event": "tick",
                "phase": context.current_phase,
                "elapsed_s": round((now - started_ns) / SECOND, 2),
                "left_s": context.left_s(now),
                "sent": sent,
                "acked": instruments.generator.last.get("acked", 0),
                "outputs": instruments.tap.last.get("output", 0),
                "dlq": instruments.tap.last.get("dlq", 0),
                "age_ms": instruments.tap.last.get("age_ms", 0.0),
                "rate_in": round((sent - past[0][1]) / span_s, 1),
                "rate_out": round((results - past[0][2]) / span_s, 1),
                "faults": injections.in_force(),
            }
        )
        await asyncio.sleep(_PERIOD_S)
