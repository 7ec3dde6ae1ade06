"""The watchdog as a process: armed before the first part starts, it outlives the conductor and undoes what that left.

It acts when its input ends (the holder died), when the holder's process is gone (a pipe may be held by somebody else),
and when a lease passes its deadline. Leases and testbeds are on disk, so a second watchdog does just as well.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Loaded before there is anything to undo, which then begins at once. `chaosd heal` loads them when it needs them.
import aiokafka.admin  # noqa: F401

import chaosd.stack.parts.toxiproxy.client
import chaosd.stack.providers.embedded  # noqa: F401
from chaosd.healing import ladder
from chaosd.healing.lease import Lease
from chaosd.healing.leases import Leases
from chaosd.healing.redeem import redeem
from chaosd.journal.write import Facts
from chaosd.kernel.clock import SECOND, Clock, SystemClock
from chaosd.kernel.errors import ChaosdError, Exit, HealError
from chaosd.process import log, spawn
from chaosd.process.control import Parent
from chaosd.process.spawn import Handle
from chaosd.testbed import record as records
from chaosd.testbed.testbed import tear_down

_log = log.configure("watchdog")
_LOOK_S = 0.1
_TEAR_DOWN_S = 60.0
_RETRY_AFTER_S = (0.5, 2.0, 5.0)
# What cannot be undone while its holder lives is tried again after this long: a port becomes free, a disk is emptied.
_AGAIN_NS = 5 * SECOND


@dataclass(frozen=True, slots=True)
class Order:
    """What it guards. `run_dir` is None for a guard over a testbed that no run uses now; `teardown`: end it too.

    `holder` is the process whose death it waits for.
    """

    testbed: Path
    teardown: bool
    run_id: str
    run_dir: Path | None
    holder: Handle | None = None

    @classmethod
    def of(cls, command: dict[str, Any]) -> Order:
        """Read an `arm` command."""
        run_dir, holder = command.get("run_dir"), command.get("holder")
        return cls(
            testbed=Path(command["testbed"]),
            teardown=bool(command["teardown"]),
            run_id=str(command.get("run_id", "")),
            run_dir=Path(run_dir) if run_dir else None,
            holder=Handle(int(holder["pid"]), int(holder["started"])) if holder else spawn.handle_of(os.getppid()),
        )


class Watchdog:
    """Guards one run, or one kept testbed."""

    def __init__(self, order: Order, clock: Clock) -> None:
        self.order = order
        self._clock = clock
        self._leases = Leases()
        self._facts = self._open_facts()
        self._not_before_ns: dict[str, int] = {}

    def _open_facts(self) -> Facts | None:
        # A second watchdog of a run goes on where the first one's chain ended.
        if self.order.run_dir is None or not self.order.run_dir.is_dir():
            return None
        facts = Facts(self.order.run_dir, "watchdog", self._clock)
        facts.append("watchdog_started", pid=os.getpid())
        return facts

    def say(self, kind: str, *, durable: bool = True, **fields: Any) -> None:
        """State a fact, where there is a journal. A full disk must not keep it from healing, nor a slow one delay it.

        What comes before an undo is not `durable`: handed to the kernel, and not waited for.
        """
        if self._facts is not None:
            try:
                self._facts.append(kind, durable=durable, **fields)
            except (ChaosdError, OSError) as error:
                _log.error("fact not written", fact=kind, error=str(error))

    def _say_of(self, lease: Lease, kind: str, **fields: Any) -> None:
        """State a fact about an injection of this run. In another run's journal the same id is another injection."""
        if lease.run_id == self.order.run_id:
            self.say(kind, **fields)
        else:
            _log.warning("for another run", fact=kind, lease=lease.id)

    def mine(self) -> list[Lease]:
        """Open leases that this watchdog answers for."""
        leases = self._leases.all()
        return [x for x in leases if x.run_id == self.order.run_id or x.testbed == str(self.order.testbed)]

    async def overdue(self) -> None:
        """Undo what is past its deadline; runs until cancelled."""
        while True:
            try:
                late = [lease for lease in self.mine() if lease.overdue(self._clock) and self._due(lease)]
            except HealError as error:
                _log.error("leases not read", error=str(error))
                late = []
            for lease in late:
                self._fence(lease)
            await self.heal(late, "past its deadline")
            await asyncio.sleep(_LOOK_S)

    def _due(self, lease: Lease) -> bool:
        return self._not_before_ns.get(lease.id, 0) <= self._clock.now_ns()

    def _fence(self, lease: Lease) -> None:
        """Kill a holder that is stopped: it cannot be told that its time is over, and would break things afterwards."""
        if lease.held() and spawn.state(lease.holder) == "T":
            self.say("holder_fenced", pid=lease.holder_pid, lease=lease.id)
            spawn.send_signal(lease.holder, signal.SIGKILL)

    async def heal(self, leases: list[Lease], why: str) -> None:
        """Undo leases side by side: one that hangs must not keep the others waiting."""
        async with asyncio.TaskGroup() as group:
            for lease in leases:
                group.create_task(self._undo(lease, why), name=lease.id)

    async def _undo(self, lease: Lease, why: str) -> None:
        """Undo one, and state how it went. Raises nothing: that would cut off the undoes beside it."""
        call_ns = self._clock.now_ns()
        self._say_of(lease, "heal_intended", durable=False, id=lease.injection, why=why)
        try:
            cleared = await redeem(self._leases, lease)
        except HealError as error:
            self._not_before_ns[lease.id] = self._clock.now_ns() + _AGAIN_NS
            _log.error("not undone", lease=lease.id, error=str(error))
            self._say_of(
                lease, "lease_undone", id=lease.id, injection=lease.injection, call_ns=call_ns,
                returned_ns=self._clock.now_ns(), ok=False, error=str(error),
            )  # fmt: skip
            return
        self._say_of(
            lease, "lease_undone", id=lease.id, injection=lease.injection, call_ns=call_ns,
            returned_ns=self._clock.now_ns(), clear_low_ns=cleared.low_ns, clear_high_ns=cleared.high_ns,
            ok=True, error="",
        )  # fmt: skip

    async def orphaned(self, why: str) -> bool:
        """The holder is gone: heal, then end the testbed where that was ordered. True when nothing is left."""
        self.say("conductor_died", durable=False, t=self._clock.now_ns(), why=why)
        if self.order.teardown and records.servers_end_with(self.order.testbed):
            # Quick undoes first: a paused process cannot end in order, a toxic must be gone within the second.
            await self._heal_mine(why, but=ladder.starts_something)
            if not await self._end_testbed():
                return False
            # What was broken there went with it.
            return self._closed(self.mine)
        for pause_s in (*_RETRY_AFTER_S, 0.0):
            if await self._heal_mine(why):
                break
            await asyncio.sleep(pause_s)
        healed = self._closed(lambda: ())
        if healed and self.order.teardown:
            # On servers that stay, what is broken stays too: the folder is needed until it is undone.
            return await self._end_testbed()
        return healed

    async def _heal_mine(self, why: str, but: Callable[[Lease], bool] = lambda lease: False) -> bool:
        """Undo what this watchdog answers for; True when nothing of it is open any more."""
        try:
            await self.heal([lease for lease in self.mine() if not but(lease)], why)
            return not self.mine()
        except HealError as error:
            _log.error("leases not read", error=str(error))
            return False

    async def _end_testbed(self) -> bool:
        for once_more in (True, False):
            try:
                async with asyncio.timeout(_TEAR_DOWN_S):
                    await tear_down(self.order.testbed)
                break
            except Exception as error:  # noqa: BLE001 - whatever it is, it is told, and the exit code says it
                # Somebody else may have removed its files under our hands; then the marker finds what is left.
                if once_more and not self.order.testbed.exists():
                    continue
                self.say("torn_down", ok=False, error=f"{type(error).__name__}: {error}")
                return False
        self.say("torn_down", ok=True, error="")
        return True

    def _closed(self, went: Callable[[], Iterable[Lease]]) -> bool:
        """Close what went with the testbed; whether nothing is open then."""
        try:
            for lease in went():
                self._leases.close(lease)
            self._leases.sweep()
            return not self.mine()
        except HealError as error:
            _log.error("leases not closed", error=str(error))
            return False


async def _main() -> Exit:
    parent, clock = Parent(), SystemClock()
    loop = asyncio.get_running_loop()
    for sig in (signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(sig, lambda: None)  # a Ctrl-C is for the surface; the holder's end is ours
    commands = parent.commands()
    first = await anext(commands, None)
    if first is None:
        return Exit.USAGE
    watchdog = Watchdog(Order.of(first), clock)
    parent.emit({"event": "armed", "pid": os.getpid()})
    overdue = asyncio.create_task(watchdog.overdue(), name="overdue")
    try:
        why = await _until_orphaned(commands, watchdog, parent)
    finally:
        overdue.cancel()
        await asyncio.wait({overdue})
    if not why:
        return Exit.PASS
    # From here on nobody would replace us: a polite end has to wait until all is healed.
    loop.add_signal_handler(signal.SIGTERM, lambda: None)
    return Exit.PASS if await watchdog.orphaned(why) else Exit.UNHEALED


async def _until_orphaned(commands: AsyncIterator[dict[str, Any]], watchdog: Watchdog, parent: Parent) -> str:
    """Wait for the end of the holder; gives why we know, or nothing when we were disarmed in good order."""

    async def listen() -> str:
        async for command in commands:
            if command["cmd"] == "disarm":
                return ""
            if command["cmd"] == "arm":
                watchdog.order = Order.of(command)
                parent.emit({"event": "armed", "pid": os.getpid()})
        return "its input ended"

    async def look() -> str:
        while (holder := watchdog.order.holder) is not None and spawn.works(holder):
            await asyncio.sleep(_LOOK_S)
        return "its process is gone"

    tasks = {asyncio.create_task(listen(), name="listen"), asyncio.create_task(look(), name="look")}
    done, rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in rest:
        task.cancel()
    await asyncio.wait(tasks)
    # Disarmed and gone at the same time is disarmed.
    return min((task.result() for task in done), key=len)


def main() -> None:
    """Run the watchdog."""
    sys.exit(asyncio.run(_main()))


if __name__ == "__main__":
    main()
