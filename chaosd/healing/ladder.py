"""How an injection is undone: first as its fault says, and when that does not do, by ever stronger means.

    1  the fault's own undo, read back, within a deadline
    2  for network faults: kill Toxiproxy, start it, make its proxies anew (a toxic that hangs holds the whole server)
    3  for network faults: the data path must carry a round trip, or rung 2 is taken after all

What fails on the last rung is a HealError: the lease stays open.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from chaosd.faults.fault import Bench, Cleared, Fault, Undo
from chaosd.faults.table import FAULTS
from chaosd.healing.lease import Lease
from chaosd.kernel.clock import SystemClock, boot_id
from chaosd.kernel.errors import ChaosdError, HealError, StackError
from chaosd.process import gate
from chaosd.process.spawn import Handle
from chaosd.stack.part import NotReady
from chaosd.stack.parts.table import part_of
from chaosd.testbed.testbed import Testbed

TOXIPROXY = "toxiproxy"
_RESTARTING = "toxiproxy.restart"
_DELETE_S = 2.0
_RESTART_S = 15.0
_START_S = 50.0
_PATH_S = 2.0
_PATH_TRIES_S = 0.05
# Whatever an undo ends in (an error of a client library, a memo that its fault did not write), it is not undone: the
# next rung is taken, and on the last one it is a HealError, so that no undo takes those beside it down.
_ERRORS = (Exception,)

# What a holder that was killed had already asked of a server may be carried out after our undo, from a socket's buffer.
# So an undo for somebody else is done again after this long.
_SETTLE_S = 0.15

_clock = SystemClock()


async def undo(bench: Bench, lease: Lease) -> Cleared:
    """Undo one injection from its lease. Idempotent. Raises HealError when it stays broken."""
    fault = fault_of(lease)
    if fault.needs == "proxy":
        return await _undo_network(bench, fault, lease)
    try:
        return await _as_it_says(bench, fault, fault.undo, lease, _START_S)
    except _ERRORS as error:
        raise HealError(
            f"{lease.fault} on {lease.on} cannot be undone: {_said(error)}",
            detail=error.detail if isinstance(error, ChaosdError) else "",
            remedy="chaosd heal tries it again",
        ) from error


async def end(bench: Bench, lease: Lease) -> tuple[Cleared, bool]:
    """End what an injection does, in good order: whether something harmless is left for `undo` to take away later.

    Raises HealError when it stays broken.
    """
    fault = fault_of(lease)
    if fault.let_go is not None:
        try:
            return await _as_it_says(bench, fault, fault.let_go, lease, _DELETE_S), True
        except _ERRORS:
            pass  # the undo has stronger means
    return await undo(bench, lease), False


def fault_of(lease: Lease) -> Fault:
    """The fault that a lease is about. Raises HealError for one that this version does not know."""
    if lease.fault not in FAULTS:
        raise HealError(
            f"this chaosd knows no fault {lease.fault!r} (lease {lease.id})", remedy="heal with the version that ran it"
        )
    return FAULTS[lease.fault]


def starts_something(lease: Lease) -> bool:
    """Whether its undo starts a process, which is pointless when the whole testbed is about to be ended."""
    fault = FAULTS.get(lease.fault)
    return fault is not None and fault.starts


async def undo_from_disk(lease: Lease) -> Cleared:
    """Undo one injection in the testbed that its lease names, in a process that has nothing but the lease.

    What a reboot ended, or what went with its testbed, is healed by that. Raises HealError.
    """
    now_ns = _clock.now_ns()
    if not Path(lease.testbed).exists():
        return Cleared(now_ns, now_ns, {"by": "its testbed is gone"})
    try:
        bed = await Testbed.open(Path(lease.testbed))
    except _ERRORS as error:
        raise HealError(
            f"{lease.fault} on {lease.on} cannot be undone: {_said(error)}", remedy="chaosd stack down --all"
        ) from error
    try:
        own = "restart" in bed.stack.capabilities
        if own and lease.boot_id != boot_id():
            return Cleared(now_ns, now_ns, {"by": "ended by the reboot"})
        cleared = await undo(bed, lease)
        if not lease.held():
            await asyncio.sleep(_SETTLE_S)
            await undo(bed, lease)
        return cleared
    finally:
        bed.stack.close()


async def _as_it_says(bench: Bench, fault: Fault, mend: Undo, lease: Lease, limit_s: float) -> Cleared:
    params = fault.params.model_validate(lease.params)
    async with asyncio.timeout(limit_s):
        return await mend(bench, lease.on, params, lease.memo, lease.tag)


async def _undo_network(bench: Bench, fault: Fault, lease: Lease) -> Cleared:
    began_ns = _clock.now_ns()
    found = bench.handle(TOXIPROXY)
    try:
        cleared = await _as_it_says(bench, fault, fault.undo, lease, _DELETE_S)
        if await _carries(bench, lease.on):
            return cleared
        why = f"{lease.on} answers directly, but not through its proxy"
    except _ERRORS as error:
        why = _said(error)
    try:
        async with asyncio.timeout(_RESTART_S):
            await _restart_toxiproxy(bench, found)
            carries = await _carries(bench, lease.on)
    except _ERRORS as error:
        raise HealError(
            f"{lease.fault} on {lease.on} cannot be undone: {why}; nor by a restart of Toxiproxy: {_said(error)}",
            remedy="restart Toxiproxy, then `chaosd heal`",
        ) from error
    if not carries:
        raise HealError(
            f"{lease.on} answers directly, but not through its proxy, not even a new one", remedy="chaosd stack status"
        )
    return Cleared(began_ns, _clock.now_ns(), {"ladder": "Toxiproxy was restarted", "why": why})


async def _restart_toxiproxy(bench: Bench, hung: Handle | None) -> None:
    # The adapter's one thread may hang in a call that will never be answered.
    bench.stack.close()
    # Another injection's ladder may have done it while we waited, in this process or in another one.
    async with gate.alone(bench.stack.folder / _RESTARTING, _RESTART_S):
        if bench.handle(TOXIPROXY) == hung:
            await bench.stack.stop_part(TOXIPROXY, kill=True)
            await bench.stack.start_part(TOXIPROXY)


async def _carries(bench: Bench, part: str) -> bool:
    """Whether the proxies of a part, or of all of several, carry data.

    Where another injection holds them or the part itself, nobody can tell.
    """
    return all([await _carries_to(bench, one) for one in bench.stack.members(part)])


async def _carries_to(bench: Bench, part: str) -> bool:
    stack = bench.stack
    handle = bench.handle(TOXIPROXY)
    if handle is not None and not stack.alive(TOXIPROXY):
        return True
    try:
        states = await stack.toxiproxy.list()
    except StackError:
        return False
    mine = [states.get(name) for name in stack.proxy_of(part)]
    if any(state is None or not state.enabled or state.toxics for state in mine):
        return True
    ask = part_of(part).round_trip
    until_ns = _clock.now_ns() + int(_PATH_S * 1e9)
    while True:
        try:
            await ask(stack.endpoints.proxied.of(part))
        except (NotReady, OSError, TimeoutError):
            if not await _answers_directly(bench, part):
                return True
            if _clock.now_ns() > until_ns:
                return False
            await asyncio.sleep(_PATH_TRIES_S)
        else:
            return True


async def _answers_directly(bench: Bench, part: str) -> bool:
    try:
        await part_of(part).round_trip(bench.stack.endpoints.direct.of(part))
    except (NotReady, OSError, TimeoutError):
        return False
    return True


def _said(error: BaseException) -> str:
    return (error.message if isinstance(error, ChaosdError) else str(error)) or type(error).__name__
