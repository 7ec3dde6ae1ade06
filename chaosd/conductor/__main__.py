"""The conductor as a process: one request on standard input, events on standard output, an exit code at the end."""

from __future__ import annotations

import asyncio
import signal
import sys
from dataclasses import fields
from typing import Any

from chaosd.conductor.client import RunRequest
from chaosd.conductor.guards import Stop, first_of
from chaosd.conductor.run import execute
from chaosd.healing import halt
from chaosd.kernel.clock import SystemClock
from chaosd.kernel.errors import ChaosdError, Exit
from chaosd.process import log
from chaosd.process.control import Parent


async def _main() -> Exit:
    parent, stop = Parent(), Stop()
    for sig in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(sig, stop.set, f"the conductor got {sig.name}")
    commands = parent.commands()
    first = await anext(commands, None)
    if first is None:
        return Exit.USAGE
    known = {field.name for field in fields(RunRequest)}
    given = {key: value for key, value in first.items() if key in known}
    request = RunRequest(**{**given, "allow_hosts": tuple(given.get("allow_hosts", ()))})
    watching = {
        asyncio.create_task(_listen(commands, stop), name="commands"),
        asyncio.create_task(halt.obey(stop.set), name="halt"),
    }
    try:
        return await execute(request, parent.emit, stop, SystemClock())
    except* ChaosdError as group:
        error = first_of(group)
        parent.emit(
            {
                "event": "error",
                "message": error.message,
                "detail": error.detail,
                "remedy": error.remedy,
                "exit": int(error.exit_code),
            }
        )
        code = error.exit_code
    finally:
        for task in watching:
            task.cancel()
    return code


async def _listen(commands: Any, stop: Stop) -> None:
    async for command in commands:
        if command.get("cmd") == "abort":
            stop.set(str(command.get("reason", "aborted")))
    stop.set("the surface that started this run is gone")


def main(arguments: list[str]) -> int:
    """Run the conductor. An unforeseen error is written to standard error, which is the run's conductor log."""
    try:
        return asyncio.run(_main())
    except BaseException:  # noqa: BLE001 - the last stop: whatever it is, it is logged and the watchdog heals
        log.of("conductor").exception("the conductor broke")
        return Exit.ABORTED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
