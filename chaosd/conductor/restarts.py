"""Starts processes of the target again that ended by themselves, as the orchestrator would that they live under.

A process that a fault holds down is left alone: its undo starts it.
"""

from __future__ import annotations

import asyncio

from chaosd.conductor.context import Context
from chaosd.kernel import names
from chaosd.kernel.errors import StackError
from chaosd.process import spawn

_PERIOD_S = 0.1


async def keep_up(context: Context) -> None:
    """Do so until cancelled; returns at once where no process is to be restarted."""
    if not any(replica.restart_ns is not None for replica in context.testbed.record.replicas):
        return
    down_ns: dict[str, int] = {}
    while True:
        for name in _due(context, down_ns):
            down_ns.pop(name)
            context.facts.append("target_restart_intended", durable=True, on=name)
            context.note(f"{name} ended by itself; starting it again")
            try:
                await context.testbed.start(name)
            except StackError as error:
                context.note(f"{name} does not come up: {error.message}")
        await asyncio.sleep(_PERIOD_S)


def _due(context: Context, down_ns: dict[str, int]) -> list[str]:
    """The processes that have been down for long enough; `down_ns` says since when."""
    now_ns, held = context.clock.now_ns(), [lease.on for lease in context.leases.on(context.testbed.directory)]
    due = []
    for replica in context.testbed.record.replicas:
        ended = replica.handle is not None and not spawn.alive(replica.handle)
        if replica.restart_ns is None or not ended or any(names.touch(on, replica.name) for on in held):
            down_ns.pop(replica.name, None)
        elif now_ns - down_ns.setdefault(replica.name, now_ns) >= replica.restart_ns:
            due.append(replica.name)
    return due
