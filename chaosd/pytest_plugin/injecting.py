"""`chaos_fault`: a fault in force for the length of a `with` block, under a lease, healed on every way out of it."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from chaosd.experiment import document
from chaosd.experiment.problems import one_error, validate
from chaosd.faults.fault import Fault
from chaosd.faults.table import FAULTS
from chaosd.healing import ladder
from chaosd.healing.halt import refuse_when_halted
from chaosd.healing.lease import Lease, new_lease
from chaosd.healing.leases import Leases
from chaosd.kernel.clock import SECOND, SystemClock
from chaosd.kernel.errors import ChaosdError, SourceError, StackError, UsageError, nearest
from chaosd.pytest_plugin.bench import Bench
from chaosd.testbed.testbed import Testbed

__tracebackhide__ = True  # pytest leaves frames of this module out of its tracebacks
_INJECT_S = 30.0
_UNDO_S = 60.0
_LONGEST_S = 600.0
# `latency_ms=400` is another way to write `latency="400ms"`: units stand last, as everywhere in Python code.
_UNITS = {"_ms": "ms", "_s": "s", "_kb_s": "KB/s", "_mb_s": "MB/s", "_kb": "KB", "_mb": "MB"}

T = TypeVar("T")


class Faults:
    """All faults by name: `chaos_fault.latency("redis", latency_ms=400)`, or `chaos_fault("latency", "redis", …)`.

    What it gives is used once, in `with` or `async with`. `longest_s`: after that time the guard heals it anyway.
    """

    def __init__(self, bench: Bench, name: str) -> None:
        self._bench = bench
        self._name = re.sub(r"[^A-Za-z0-9_.-]", "-", name)[:60]
        self._numbers = itertools.count(1)
        self._open: list[InForce] = []

    def __call__(self, fault: str, on: str, *, longest_s: float = _LONGEST_S, **params: Any) -> InForce:
        """A fault that is put in force by `with`. Raises UsageError for one that cannot be."""
        found = FAULTS.get(fault)
        if found is None:
            near = nearest(fault, FAULTS)
            hint = f"did you mean {near!r}?" if near else f"one of: {', '.join(FAULTS)}"
            raise UsageError(f"there is no fault {fault!r}", remedy=hint)
        if on not in found.on:
            raise UsageError(f"{fault} cannot be done to {on!r}", remedy=f"one of: {', '.join(found.on)}")
        injection = f"{next(self._numbers)}-{fault}-{on}"
        made = InForce(self._bench, found, on, parameters(found, params), self._name, injection, longest_s)
        self._open.append(made)
        return made

    def __getattr__(self, fault: str) -> Callable[..., InForce]:
        if fault.startswith("_"):
            raise AttributeError(fault)

        def chosen(on: str, **params: Any) -> InForce:
            return self(fault, on, **params)

        return chosen

    def close(self) -> None:
        """Heal whatever a test left in force. Raises HealError for what stays broken."""
        for one in self._open:
            one.heal()
            one.clear_away()


def parameters(fault: Fault, given: dict[str, Any]) -> Any:
    """The fault's parameters from keyword arguments. Raises UsageError that says what is wrong with each."""
    raw = {}
    for name, value in given.items():
        unit = next((unit for unit in sorted(_UNITS, key=len, reverse=True) if name.endswith(unit)), "")
        plain = name in fault.params.model_fields or not unit
        raw[name if plain else name.removesuffix(unit)] = value if plain else f"{value:g}{_UNITS[unit]}"
    problems: list[SourceError] = []
    source = document.Document(f"chaos_fault.{fault.name}", None, raw)
    made = validate(source, fault.params, raw, (), problems)
    if made is None:
        raise UsageError(one_error(problems).message.replace(":1:1:", ":"), remedy=f"chaos_fault.{fault.name}(on, …)")
    return made


class InForce:
    """One injection. `readback` is what was read back after it."""

    def __init__(
        self, bench: Bench, fault: Fault, on: str, params: Any, run_id: str, injection: str, longest_s: float
    ) -> None:
        self._bench = bench
        self._fault = fault
        self._on = on
        self._params = params
        self._run_id = f"pytest-{run_id}"
        self._injection = injection
        self._longest_s = longest_s
        self._lease: Lease | None = None
        self._left: Lease | None = None
        self._testbed: Testbed | None = None
        # Injection and undo of the same fault, one after the other, whoever is interrupted meanwhile.
        self._turn = asyncio.Lock()
        self.readback: dict[str, Any] = {}

    def __enter__(self) -> Self:
        try:
            self._bench.call(self._inject())
        except BaseException:
            # An interruption while it is on its way: it must be in force, or not, before it is undone.
            self.heal()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.heal()

    async def __aenter__(self) -> Self:
        try:
            await self._there(self._inject())
        except BaseException:
            await self._there(self._heal())
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self._there(self._heal())

    def heal(self) -> None:
        """Undo it now; nothing happens when it is not in force. Raises HealError when it stays broken."""
        self._bench.call(self._heal())

    def clear_away(self) -> None:
        """Take away what it left that hurts nobody, now that the test is over: it may close connections."""
        if self._left is not None:
            self._bench.call(self._cleared_away(self._left))
            self._left = None

    async def _there(self, work: Coroutine[Any, Any, T]) -> T:
        """Do work on the bench's loop to its end: a cancellation waits for it, and is passed on then."""
        asked = asyncio.wrap_future(self._bench.submit(work))
        try:
            return await asyncio.shield(asked)
        except asyncio.CancelledError:
            await asyncio.wait({asked})
            raise

    async def _inject(self) -> None:
        async with self._turn:
            try:
                await self._injected()
            except TimeoutError as error:
                raise StackError(f"{self._fault.name} on {self._on} is not in force after {_INJECT_S:g} s") from error

    async def _heal(self) -> None:
        async with self._turn:
            await self._healed()

    async def _injected(self) -> None:
        fault, clock = self._fault, SystemClock()
        refuse_when_halted()
        testbed = await self._bench.ready()
        lacks = fault.needs not in testbed.stack.capabilities and self._on != "target"
        if lacks:
            why = "cannot be undone, and is done only" if fault.irreversible else f"is done only ({fault.needs})"
            raise UsageError(f"{fault.name} {why} to a stack of chaosd's own", remedy="--chaos-stack=embedded")
        memo = await fault.prepare(testbed, self._on, self._params)
        lease = new_lease(
            run_id=self._run_id,
            injection=self._injection,
            fault=fault.name,
            on=self._on,
            params=self._params.model_dump(mode="json"),
            memo=memo,
            tag=f"chaosd-{self._run_id}-{self._injection}",
            testbed=str(testbed.directory),
            lasts_ns=round((self._longest_s + _INJECT_S) * SECOND),
            clock=clock,
        )
        Leases().open(lease)
        self._lease, self._testbed = lease, testbed
        self._bench.faults_in_force += 1
        async with asyncio.timeout(_INJECT_S):
            self.readback = await fault.inject(testbed, self._on, self._params, memo, lease.tag)

    async def _healed(self) -> None:
        lease, self._lease = self._lease, None
        if lease is None:
            return
        try:
            _, left = await self._bounded(ladder.end, lease) or (None, False)
        finally:
            self._bench.faults_in_force -= 1
        if left:
            self._left = lease
        else:
            Leases().close(lease)

    async def _cleared_away(self, lease: Lease) -> None:
        await self._bounded(ladder.undo, lease)
        Leases().close(lease)

    async def _bounded(self, work: Callable[[Testbed, Lease], Coroutine[Any, Any, T]], lease: Lease) -> T | None:
        """Mend by `work`; None where the testbed is gone. After an error nobody relies on the testbed any more."""
        testbed = self._testbed
        if testbed is None:
            return None
        try:
            async with asyncio.timeout(_UNDO_S):
                return await work(testbed, lease) if Path(lease.testbed).exists() else None
        except (ChaosdError, OSError, TimeoutError):
            self._bench.doubt()
            raise
        finally:
            with suppress(ChaosdError):
                testbed.stack.close()
