"""What the watchdog does: undoes what is past its deadline, and all of it when its holder is gone.

Leases and testbeds are on disk, so a second watchdog does just as well.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterable
from typing import Any

# Loaded before there is anything to undo, which then begins at once. `chaosd heal` loads them when it needs them.
import aiokafka.admin  # noqa: F401

import chaosd.stack.parts.toxiproxy.client
import chaosd.stack.providers.embedded  # noqa: F401
from chaosd.healing import ladder
from chaosd.healing.lease import Lease
from chaosd.healing.leases import Leases
from chaosd.healing.order import Order
from chaosd.healing.redeem import redeem
from chaosd.journal.write import Facts
from chaosd.kernel.clock import SECOND, Clock
from chaosd.kernel.errors import ChaosdError, HealError
from chaosd.process import log, spawn
from chaosd.testbed import record as records
from chaosd.testbed.testbed import tear_down

_NAME = "watchdog"
_LOOK_S = 0.1
_TEAR_DOWN_S = 60.0
_RETRY_AFTER_S = (0.5, 2.0, 5.0)
# What cannot be undone while its holder lives is tried again after this long: a port becomes free, a disk is emptied.
_AGAIN_NS = 5 * SECOND


class Guard:
    """Guards one run, or one kept testbed."""

    def __init__(self, order: Order, facts: Facts | None, clock: Clock) -> None:
        """`facts`: of the run; None where there is no run."""
        self.order = order
        self._clock = clock
        self._leases = Leases()
        self._facts = facts
        self._not_before_ns: dict[str, int] = {}

    def say(self, kind: str, *, durable: bool = True, **fields: Any) -> None:
        """State a fact, where there is a journal. A full disk must not keep it from healing, nor a slow one delay it.

        What comes before an undo is not `durable`: handed to the kernel, and not waited for.
        """
        if self._facts is not None:
            try:
                self._facts.append(kind, durable=durable, **fields)
            except (ChaosdError, OSError) as error:
                log.of(_NAME).error("fact not written", fact=kind, error=str(error))

    def _say_of(self, lease: Lease, kind: str, **fields: Any) -> None:
        """State a fact about an injection of this run. In another run's journal the same id is another injection."""
        if lease.run_id == self.order.run_id:
            self.say(kind, **fields)
        else:
            log.of(_NAME).warning("for another run", fact=kind, lease=lease.id)

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
                log.of(_NAME).error("leases not read", error=str(error))
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
            log.of(_NAME).error("not undone", lease=lease.id, error=str(error))
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
            log.of(_NAME).error("leases not read", error=str(error))
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
            log.of(_NAME).error("leases not closed", error=str(error))
            return False
