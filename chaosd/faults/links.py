"""Faults of the network that cut connections and close ports: reset, down, flap."""

from __future__ import annotations

import asyncio
from typing import Any

from pydantic import Field, model_validator

from chaosd.faults.fault import Bench, Cleared, Fault, Force
from chaosd.faults.params import Delay, NoParams, Params, delay_ms
from chaosd.faults.toxics import (
    NEEDS,
    PARTS,
    Wanted,
    add,
    died,
    ends_in,
    ends_no_more_in,
    prepare,
    remove,
)
from chaosd.kernel.clock import SystemClock
from chaosd.kernel.proof import Proof, Relation, Source

# A fault that opens and closes the ports of a part, and one that would be disturbed by that.
_SWITCH, _FLAPPING = "the switch of its proxy", "connections that flap"
_CLOSED = "closed"
_SHORTEST_MS = 50

_clock = SystemClock()


class FlapParams(Params):
    """The network comes and goes: out of reach, back, and again, as long as the fault is in force."""

    down: Delay = Field(description="How long connections are cut and new ones refused, each time; from 50ms.")
    up: Delay = Field(description="How long it is well in between; from 50ms.")

    @model_validator(mode="after")
    def _not_too_short(self) -> FlapParams:
        if min(delay_ms(self.down), delay_ms(self.up)) < _SHORTEST_MS:
            raise ValueError("`down` and `up` of at least 50ms each")
        return self

    @property
    def down_s(self) -> float:
        """Seconds out of reach."""
        return delay_ms(self.down) / 1000

    @property
    def up_s(self) -> float:
        """Seconds in between."""
        return delay_ms(self.up) / 1000


def _reset() -> list[Wanted]:
    # Both streams: whichever side speaks first on a new connection, it is reset.
    return [Wanted("reset_peer", stream, {"timeout": 0}) for stream in ("upstream", "downstream")]


def _mark() -> list[Wanted]:
    # It delays nothing on a closed proxy. It says who closed it, to an undo of another fault on the same proxy.
    return [Wanted("latency", "downstream", {"latency": 0, "jitter": 0}, _CLOSED)]


def _is_mark(toxic: Any) -> bool:
    return str(toxic.name).endswith(f".{_CLOSED}.downstream")


async def _reopen(bench: Bench, memo: dict[str, Any]) -> None:
    """Enable the proxies again, but for those that another injection of `down` keeps closed."""
    states = await bench.stack.toxiproxy.list()
    for proxy in memo["proxies"]:
        state = states.get(proxy)
        if state is None:  # a Toxiproxy that was started by somebody else has no proxies at all
            await bench.stack.repopulate()
        elif not state.enabled and not any(_is_mark(toxic) for toxic in state.toxics):
            await bench.stack.toxiproxy.set_enabled(proxy, True)


async def _cut(bench: Bench, memo: dict[str, Any]) -> None:
    """Drop all connections of open proxies. reset_peer takes only those that are opened after it."""
    states = await bench.stack.toxiproxy.list()
    for proxy in memo["proxies"]:
        if states[proxy].enabled:
            await bench.stack.toxiproxy.set_enabled(proxy, False)
            await bench.stack.toxiproxy.set_enabled(proxy, True)


async def _switch(bench: Bench, memo: dict[str, Any], *, on: bool) -> None:
    for proxy in memo["proxies"]:
        await bench.stack.toxiproxy.set_enabled(proxy, on)


async def _inject_reset(bench: Bench, on: str, params: Any, memo: dict[str, Any], tag: str) -> dict[str, Any]:
    added = await add(bench, memo, tag, _reset())
    await _cut(bench, memo)
    return {"toxics": added}


async def _undo_reset(bench: Bench, on: str, params: Any, memo: dict[str, Any], tag: str) -> Cleared:
    cleared = await remove(bench, memo, tag, _reset())
    if not died(bench):
        # An injection that was cut off between closing and opening the proxy.
        await _reopen(bench, memo)
    return Cleared(cleared.low_ns, _clock.now_ns(), cleared.evidence)


async def _inject_down(bench: Bench, on: str, params: Any, memo: dict[str, Any], tag: str) -> dict[str, Any]:
    await add(bench, memo, tag, _mark())
    await _switch(bench, memo, on=False)
    return {"disabled": memo["proxies"]}


async def _undo_down(bench: Bench, on: str, params: Any, memo: dict[str, Any], tag: str) -> Cleared:
    cleared = await remove(bench, memo, tag, _mark())
    if not died(bench):
        await _reopen(bench, memo)
    return Cleared(cleared.low_ns, _clock.now_ns(), {**cleared.evidence, "enabled": memo["proxies"]})


async def _flap(bench: Bench, on: str, params: FlapParams, memo: dict[str, Any], tag: str, force: Force) -> None:
    while True:
        await asyncio.sleep(params.down_s)
        await _switch(bench, memo, on=True)
        await asyncio.sleep(params.up_s)
        await _switch(bench, memo, on=False)


def _flaps(on: str, params: FlapParams) -> tuple[Proof, ...]:
    """Refused at times, and well at others."""
    return tuple(Proof(Source.OUTCOME, on, Relation.ONE_OF, words=(word,)) for word in ("refused", "ok"))


reset = Fault(
    "reset",
    NoParams,
    PARTS,
    NEEDS,
    prepare,
    _inject_reset,
    _undo_reset,
    ends_in("reset", "eof"),
    ends_no_more_in("reset"),
    "All connections are cut, new ones are reset as soon as they speak.",
    claims=(_FLAPPING,),
)
down = Fault(
    "down",
    NoParams,
    PARTS,
    NEEDS,
    prepare,
    _inject_down,
    _undo_down,
    ends_in("refused"),
    ends_no_more_in("refused"),
    "All connections are cut, new ones are refused.",
    claims=(_SWITCH,),
)
flap = Fault(
    "flap",
    FlapParams,
    PARTS,
    NEEDS,
    prepare,
    _inject_down,
    _undo_down,
    _flaps,
    ends_no_more_in("refused"),
    "The port closes and opens again, with all connections cut each time.",
    claims=(_SWITCH, _FLAPPING),
    during=_flap,
)
