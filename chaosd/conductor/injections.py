"""One step of the timeline, done: prepare → lease → journal → inject → read back → end it.

The lease is on disk before the act, so whatever happens in between, the watchdog or `chaosd heal` can undo it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from random import Random
from typing import Any

from chaosd.conductor.context import Context
from chaosd.conductor.drain import LIMIT_NS
from chaosd.conductor.instruments import Instruments
from chaosd.experiment.timeline import Step
from chaosd.faults.fault import Fault, Force
from chaosd.faults.table import FAULTS
from chaosd.healing import ladder
from chaosd.healing.halt import halted
from chaosd.healing.lease import Lease, new_lease
from chaosd.kernel.clock import SECOND
from chaosd.kernel.errors import ChaosdError, JournalError, StackError
from chaosd.kernel.proof import Proof

_INJECT_DEADLINE_S = 30.0
# Beyond the planned end of the slowest injection a lease gets this long before the watchdog takes over: earlier, it
# would undo an injection that has only just begun, and close the lease of what is broken a moment later.
_GRACE_NS = 15 * SECOND
_LEASE_NS = round(_INJECT_DEADLINE_S * SECOND) + _GRACE_NS
_UNDO_DEADLINE_S = 60.0


@dataclass(slots=True)
class Injection:
    """A step under way. `state` is planned, injected, failed, healed or unhealed.

    `lease` is of what it breaks; once that is healed, of what it left that hurts nobody.
    """

    step: Step
    fault: Fault
    at_ns: int
    memo: dict[str, Any] = field(default_factory=dict)
    lease: Lease | None = None
    state: str = "planned"
    heal_due_ns: int = 0

    @property
    def bite(self) -> tuple[Proof, ...]:
        """What must show that it is in force."""
        return self.fault.bite(self.step.on, self.step.params)

    @property
    def healed(self) -> tuple[Proof, ...]:
        """What must show that it is gone."""
        return self.fault.healed(self.step.on, self.step.params)


class Injections:
    """All injections of a run."""

    def __init__(self, context: Context, instruments: Instruments) -> None:
        self._context = context
        self._instruments = instruments
        self.all: list[Injection] = []
        self.clear_high_ns = 0

    def plan(self, steps: tuple[Step, ...], origin_ns: int) -> None:
        """Lay the timeline on the clock: `origin_ns` is the end of the baseline."""
        for step in steps:
            fault = FAULTS[step.fault]
            injection = Injection(step, fault, origin_ns + step.at_ns)
            self.all.append(injection)
            self._context.facts.append(
                "fault_planned",
                id=step.id,
                fault=step.fault,
                on=step.on,
                params=step.params.model_dump(mode="json"),
                at_ns=injection.at_ns,
                for_ns=step.for_ns,
                bite=[asdict(proof) for proof in injection.bite],
                healed=[asdict(proof) for proof in injection.healed],
                voids=list(fault.voids),
            )

    def measure_before(self) -> None:
        """What proofs compare with, without a fault: what the servers tell, and the probes that only a proof needs."""
        told = [gauges for one in self.all for gauges in one.fault.gauges(one.step.on, one.step.params)]
        if told:
            self._context.facts.append("gauges", names=self._instruments.watch(told))
        self._instruments.few([proof for one in self.all for proof in (*one.bite, *one.healed)])

    async def carry_out(self) -> None:
        """Do the whole timeline; returns when the last injection is healed."""
        async with asyncio.TaskGroup() as group:
            for injection in self.all:
                group.create_task(self._one(injection), name=f"fault {injection.step.id}")

    async def heal_all(self) -> None:
        """Undo whatever is still open; bounded, and goes on to the next one when one cannot be undone."""
        async with asyncio.TaskGroup() as group:
            for injection in self.all:
                if injection.lease is not None and injection.state in ("planned", "injected", "failed"):
                    # To its end, even when the heal beside it fails.
                    group.create_task(_to_the_end(self._heal(injection)), name=f"heal {injection.step.id}")

    async def clear_away(self) -> None:
        """Take away what healed injections left that hurts nobody. When the run is over: it may close connections."""
        for injection in self.all:
            if injection.lease is not None and injection.state == "healed":
                await _to_the_end(self._clear_away(injection, injection.lease))

    async def _clear_away(self, injection: Injection, lease: Lease) -> None:
        try:
            async with asyncio.timeout(_UNDO_DEADLINE_S):
                await ladder.undo(self._context.testbed, lease)
        except (ChaosdError, OSError, TimeoutError) as error:
            self._unhealed(injection, str(error))
            return
        self._context.leases.close(lease)
        injection.lease = None

    def in_force(self) -> list[dict[str, Any]]:
        """What is broken now, for the live view."""
        now = self._context.clock.now_ns()
        return [
            {
                "id": injection.step.id,
                "fault": injection.step.fault,
                "on": injection.step.on,
                "left_s": max(0.0, (injection.heal_due_ns - now) / SECOND),
            }
            for injection in self.all
            if injection.state == "injected"
        ]

    @property
    def unhealed(self) -> list[str]:
        """Injections that could not be undone."""
        return [injection.step.id for injection in self.all if injection.state == "unhealed"]

    async def _one(self, injection: Injection) -> None:
        await self._sleep_until(injection.at_ns - SECOND)
        injection.memo = await injection.fault.prepare(self._context.testbed, injection.step.on, injection.step.params)
        self._instruments.edge()
        await self._sleep_until(injection.at_ns)
        # An injection in flight must end before it is undone, or the two race for the same toxic.
        await _to_the_end(self._inject(injection))
        if injection.state != "injected":
            return
        await self._keep(injection)
        await _to_the_end(self._heal(injection))

    async def _keep(self, injection: Injection) -> None:
        """Until it is due to be healed, driven if it needs to be. One that can no longer be driven has failed."""
        if injection.fault.during is not None:
            left_s = (injection.heal_due_ns - self._context.clock.now_ns()) / SECOND
            limit = asyncio.timeout(max(0.0, left_s))
            try:
                async with limit:
                    await self._drive(injection)
            except (ChaosdError, OSError) as error:
                if not limit.expired():
                    self._failed(injection, f"it could no longer be driven: {error}")
                    return
        await self._sleep_until(injection.heal_due_ns)

    async def _drive(self, injection: Injection) -> None:
        step, context, drive = injection.step, self._context, injection.fault.during
        if drive is not None:
            # Its chances are its own: they do not depend on what else is in the timeline.
            force = Force(Random(f"{context.seed}/{step.id}"), step.for_ns)
            await drive(context.testbed, step.on, step.params, injection.memo, _tag(context.run_id, step), force)

    def _failed(self, injection: Injection, why: str) -> None:
        injection.state = "failed"
        self._context.facts.append("fault_failed", durable=True, id=injection.step.id, error=why)
        self._context.say_fault("failed", injection.step, why)

    async def _inject(self, injection: Injection) -> None:
        step, context = injection.step, self._context
        if halted() is not None:
            # The run ends within a tenth of a second; until it does, nothing more is broken.
            return
        tag = _tag(context.run_id, step)
        injection.lease = new_lease(
            run_id=context.run_id,
            injection=step.id,
            fault=step.fault,
            on=step.on,
            params=step.params.model_dump(mode="json"),
            memo=injection.memo,
            tag=tag,
            testbed=str(context.testbed.directory),
            lasts_ns=step.for_ns + _LEASE_NS,
            clock=context.clock,
        )
        context.leases.open(injection.lease)
        context.facts.append("fault_intended", durable=True, id=step.id, lease=injection.lease.id)
        self._instruments.edge()
        call_ns = context.clock.now_ns()
        try:
            self._hold(injection.lease)
            async with asyncio.timeout(_INJECT_DEADLINE_S):
                readback = await injection.fault.inject(context.testbed, step.on, step.params, injection.memo, tag)
            self._hold(injection.lease)
        except (ChaosdError, OSError, TimeoutError) as error:
            self._failed(injection, str(error))
            await self._heal(injection)
            return
        returned_ns = context.clock.now_ns()
        injection.heal_due_ns = returned_ns + step.for_ns
        injection.state = "injected"
        context.facts.append(
            "fault_injected", durable=True, id=step.id, call_ns=call_ns, returned_ns=returned_ns, readback=readback
        )
        context.say_fault("injected", step, "")
        self._instruments.begin(injection.bite)
        if injection.fault.deletes_topic:
            await self._instruments.topic_deleted(injection.memo["topic"], step.id)

    def _hold(self, lease: Lease) -> None:
        """Raise StackError when the lease is no longer ours: we stood still until it was undone and closed for us.

        Asked before and after the act. What is broken without a lease would be mended by nobody after our death.
        """
        if lease.overdue(self._context.clock) or not self._context.leases.holds(lease):
            raise StackError(f"the lease of {lease.injection} has run out: this process stood still for too long")

    async def _heal(self, injection: Injection) -> None:
        step, context, lease = injection.step, self._context, injection.lease
        if lease is None or injection.state in ("healed", "unhealed"):
            return
        failed = injection.state == "failed"
        self._instruments.end(injection.bite)
        # A full disk must not keep anything broken. If it still is full after the undo, that ends the run.
        with suppress(JournalError):
            context.facts.append("heal_intended", durable=True, id=step.id)
        self._instruments.edge()
        try:
            async with asyncio.timeout(_UNDO_DEADLINE_S):
                cleared, left = await ladder.end(context.testbed, lease)
        except (ChaosdError, OSError, TimeoutError) as error:
            self._unhealed(injection, str(error))
            return
        injection.state = "failed" if failed else "healed"
        self.clear_high_ns = max(self.clear_high_ns, cleared.high_ns)
        context.facts.append(
            "fault_healed",
            durable=True,
            id=step.id,
            clear_low_ns=cleared.low_ns,
            clear_high_ns=cleared.high_ns,
            by="conductor",
            evidence=cleared.evidence,
        )
        if left and not failed:
            injection.lease = lease.until(self._over_ns(), context.clock)
            context.leases.open(injection.lease)
        else:
            context.leases.close(lease)
            injection.lease = None
        self._instruments.few(injection.healed)
        self._instruments.edge()
        context.say_fault("healed", step, "")

    def _unhealed(self, injection: Injection, why: str) -> None:
        injection.state = "unhealed"
        self._context.facts.append("heal_failed", durable=True, id=injection.step.id, error=why)
        self._context.say_fault("unhealed", injection.step, why)

    def _over_ns(self) -> int:
        """When the run must be over, and nobody is left who could take away what a healed injection left."""
        last_ns = max(one.at_ns + one.step.for_ns for one in self.all)
        return last_ns + self._context.experiment.phases.hold_ns + LIMIT_NS + _LEASE_NS

    async def _sleep_until(self, at_ns: int) -> None:
        await asyncio.sleep(max(0.0, (at_ns - self._context.clock.now_ns()) / SECOND))


def _tag(run_id: str, step: Step) -> str:
    """What the injection's own work is named by: its toxics, for one."""
    return f"chaosd-{run_id}-{step.id}"


async def _to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Await bounded work that a cancellation may delay but must not cut off."""
    task = asyncio.create_task(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise
