"""The watchdog as a process: armed before the first part starts, it outlives the conductor and undoes what that left.

It acts when its input ends (the holder died), when the holder's process is gone (a pipe may be held by somebody else),
and when a lease passes its deadline.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from chaosd.healing.order import Order
from chaosd.journal.write import Facts
from chaosd.kernel.clock import Clock, SystemClock
from chaosd.kernel.errors import Exit
from chaosd.process import spawn
from chaosd.process.control import Parent
from chaosd.process.load import quickly

if TYPE_CHECKING:
    from chaosd.healing.guard import Guard

_LOOK_S = 0.1


async def _main() -> Exit:
    parent, clock = Parent(), SystemClock()
    loop = asyncio.get_running_loop()
    for sig in (signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(sig, lambda: None)  # a Ctrl-C is for the surface; the holder's end is ours
    commands = parent.commands()
    first = await anext(commands, None)
    if first is None:
        return Exit.USAGE
    order = Order.of(first)
    facts = facts_of(order, clock)
    # It knows what to guard and sees its holder's end. What an undo needs is loaded while the holder starts the stack.
    parent.emit({"event": "armed", "pid": os.getpid()})
    with quickly():
        from chaosd.healing.guard import Guard  # noqa: PLC0415 - a fifth of a second that the stack need not wait for

    guard = Guard(order, facts, clock)
    overdue = asyncio.create_task(guard.overdue(), name="overdue")
    try:
        why = await _until_orphaned(commands, guard, parent)
    finally:
        overdue.cancel()
        await asyncio.wait({overdue})
    if not why:
        return Exit.PASS
    # From here on nobody would replace us: a polite end has to wait until all is healed.
    loop.add_signal_handler(signal.SIGTERM, lambda: None)
    return Exit.PASS if await guard.orphaned(why) else Exit.UNHEALED


def facts_of(order: Order, clock: Clock) -> Facts | None:
    """Where it states what it does; a second watchdog of a run goes on where the first one's chain ended."""
    if order.run_dir is None or not order.run_dir.is_dir():
        return None
    facts = Facts(order.run_dir, "watchdog", clock)
    facts.append("watchdog_started", pid=os.getpid())
    return facts


async def _until_orphaned(commands: AsyncIterator[dict[str, Any]], guard: Guard, parent: Parent) -> str:
    """Wait for the end of the holder; gives why we know, or nothing when we were disarmed in good order."""

    async def listen() -> str:
        async for command in commands:
            if command["cmd"] == "disarm":
                return ""
            if command["cmd"] == "arm":
                guard.order = Order.of(command)
                parent.emit({"event": "armed", "pid": os.getpid()})
        return "its input ended"

    async def look() -> str:
        while (holder := guard.order.holder) is not None and spawn.works(holder):
            await asyncio.sleep(_LOOK_S)
        return "its process is gone"

    tasks = {asyncio.create_task(listen(), name="listen"), asyncio.create_task(look(), name="look")}
    done, rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in rest:
        task.cancel()
    await asyncio.wait(tasks)
    # Disarmed and gone at the same time is disarmed.
    return min((task.result() for task in done), key=len)


def main(arguments: list[str]) -> int:
    """Run the watchdog."""
    return asyncio.run(_main())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
