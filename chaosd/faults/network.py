"""Faults of the network between the target and a part, made by Toxiproxy.

What its toxics really do: github.com/Shopify/toxiproxy#toxics; the surprising parts are pinned by contract tests.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import Field, model_validator

from chaosd.faults import params as words
from chaosd.faults.fault import Bench, Cleared, Fault
from chaosd.faults.params import Bandwidth, Delay, Direction, NoParams, Params
from chaosd.kernel.clock import SystemClock
from chaosd.kernel.errors import StackError
from chaosd.kernel.proof import Proof, Relation, Source
from chaosd.process import spawn

PARTS = ("redis", "kafka", "postgres")
NEEDS = "proxy"
TOXIPROXY = "toxiproxy"
# A canary gives up after a second: what delays it for longer shows as time-outs, not as a rise.
_SHOWN_AS_RISE_MS = 900

_clock = SystemClock()


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A toxic to be added, on every proxy of the part."""

    type: str
    stream: str
    attributes: dict[str, int]


class LatencyParams(Params):
    """Answers (or requests) arrive late, one by one; the handshake of a new connection does not."""

    latency: Delay = Field(description="How much later data arrive. `both` adds it once in each direction.")
    jitter: Delay = Field(
        default="0ms",
        description="Drawn by Toxiproxy for each chunk: latency ± jitter. Proofs count on latency - jitter.",
    )
    direction: Direction = Field(default="downstream", description="upstream: requests, downstream: answers.")

    @model_validator(mode="after")
    def _jitter_within(self) -> LatencyParams:
        if self.jitter_ms > self.latency_ms:
            raise ValueError("a jitter of at most the latency")
        if self.latency_ms == 0:
            raise ValueError("a latency above 0ms")
        return self

    @property
    def latency_ms(self) -> int:
        """The delay of one direction."""
        return words.delay_ms(self.latency)

    @property
    def jitter_ms(self) -> int:
        """The largest deviation from it."""
        return words.delay_ms(self.jitter)


class BandwidthParams(Params):
    """Each connection carries at most so much."""

    rate: Bandwidth = Field(description="Per connection and direction; 1 KB = 1000 B.")
    direction: Direction = Field(default="downstream", description="upstream: requests, downstream: answers.")

    @property
    def rate_kb_s(self) -> int:
        """The cap."""
        return words.bandwidth_kb_s(self.rate)


class BlackholeParams(Params):
    """Data vanish, connections stay open: nobody is told. They are closed when it ends."""

    direction: Direction = Field(
        default="both", description="upstream: requests never arrive. downstream: they are carried out, unanswered."
    )


def _latency(params: LatencyParams) -> Sequence[_Wanted]:
    attributes = {"latency": params.latency_ms, "jitter": params.jitter_ms}
    return [_Wanted("latency", stream, attributes) for stream in words.streams(params.direction)]


def _latency_bite(on: str, params: LatencyParams) -> tuple[Proof, ...]:
    sure_ms = (params.latency_ms - params.jitter_ms) * len(words.streams(params.direction))
    if sure_ms > _SHOWN_AS_RISE_MS:
        return (Proof(Source.OUTCOME, on, Relation.ONE_OF, words=("timeout",)),)
    return (Proof(Source.ROUND_TRIP_MS, on, Relation.RISES_BY, float(sure_ms)),)


def _bandwidth(params: BandwidthParams) -> Sequence[_Wanted]:
    return [_Wanted("bandwidth", stream, {"rate": params.rate_kb_s}) for stream in words.streams(params.direction)]


def _bandwidth_bite(on: str, params: BandwidthParams) -> tuple[Proof, ...]:
    return tuple(
        Proof(Source.RATE_KB_S, on, Relation.NEAR, float(params.rate_kb_s), stream=stream)
        for stream in words.streams(params.direction)
    )


def _blackhole(params: BlackholeParams) -> Sequence[_Wanted]:
    # timeout 0 never closes; any other value would, after that time.
    return [_Wanted("timeout", stream, {"timeout": 0}) for stream in words.streams(params.direction)]


def _reset(params: NoParams) -> Sequence[_Wanted]:
    # Both streams: whichever side speaks first on a new connection, it is reset.
    return [_Wanted("reset_peer", stream, {"timeout": 0}) for stream in ("upstream", "downstream")]


def _down(params: NoParams) -> Sequence[_Wanted]:
    # It delays nothing on a closed proxy. It says who closed it, to an undo of another fault on the same proxy.
    return [_Wanted("latency", "downstream", {"latency": 0, "jitter": 0})]


def _names(tag: str, wanted: Sequence[_Wanted]) -> list[str]:
    # A toxic's name is part of a URL.
    stem = re.sub(r"[^A-Za-z0-9_.-]", "-", tag)
    return [f"{stem}.{toxic.type}.{toxic.stream}" for toxic in wanted]


async def _prepare(bench: Bench, on: str, params: Params) -> dict[str, Any]:
    proxies = bench.stack.proxy_of(on)
    if not proxies:
        raise StackError(f"there is no proxy in front of {on}", remedy="use a stack that has one")
    present = await bench.stack.toxiproxy.list()
    if missing := [name for name in proxies if name not in present]:
        raise StackError(f"Toxiproxy has no proxy {', '.join(missing)}", remedy="chaosd stack down, then up")
    return {"proxies": list(proxies)}


async def _add(bench: Bench, memo: dict[str, Any], tag: str, wanted: Sequence[_Wanted]) -> list[dict[str, Any]]:
    added = []
    for proxy in memo["proxies"]:
        for name, toxic in zip(_names(tag, wanted), wanted, strict=True):
            state = await bench.stack.toxiproxy.add_toxic(proxy, name, toxic.type, toxic.stream, toxic.attributes)
            added.append(
                {"proxy": proxy, "name": name, "type": state.type, "stream": state.stream, **dict(state.attributes)}
            )
    return added


def _toxics_died(bench: Bench) -> bool:
    """Toxics live in Toxiproxy's memory: those of a dead one are gone, and its start makes all proxies anew."""
    handle = bench.handle(TOXIPROXY)
    return handle is not None and not spawn.alive(handle)


async def _remove(bench: Bench, memo: dict[str, Any], tag: str, wanted: Sequence[_Wanted]) -> Cleared:
    low_ns = _clock.now_ns()
    if _toxics_died(bench):
        return Cleared(low_ns, low_ns, {"toxiproxy": "not running: its toxics are gone with it"})
    for proxy in memo["proxies"]:
        for name in _names(tag, wanted):
            await bench.stack.toxiproxy.remove_toxic(proxy, name)
    return Cleared(low_ns, _clock.now_ns(), {"removed": _names(tag, wanted)})


async def _reopen(bench: Bench, memo: dict[str, Any]) -> None:
    """Enable the proxies again, but for those that another injection of `down` keeps closed."""
    states = await bench.stack.toxiproxy.list()
    for proxy in memo["proxies"]:
        state = states.get(proxy)
        if state is None or (not state.enabled and not any(_is_mark(toxic) for toxic in state.toxics)):
            await _enable(bench, proxy, absent=state is None)


def _is_mark(toxic: Any) -> bool:
    return bool(toxic.type == "latency" and toxic.attributes.get("latency") == 0)


async def _enable(bench: Bench, proxy: str, *, absent: bool) -> None:
    if absent:  # a Toxiproxy that was started by somebody else has no proxies at all
        await bench.stack.repopulate()
    else:
        await bench.stack.toxiproxy.set_enabled(proxy, True)


async def _cut(bench: Bench, memo: dict[str, Any]) -> None:
    """Drop all connections of open proxies. reset_peer takes only those that are opened after it."""
    states = await bench.stack.toxiproxy.list()
    for proxy in memo["proxies"]:
        if states[proxy].enabled:
            await bench.stack.toxiproxy.set_enabled(proxy, False)
            await bench.stack.toxiproxy.set_enabled(proxy, True)


def _toxic_fault(
    name: str,
    params: type[Params],
    wanted: Callable[[Any], Sequence[_Wanted]],
    bite: Callable[[str, Any], tuple[Proof, ...]],
    healed: Callable[[str, Any], tuple[Proof, ...]],
    summary: str,
) -> Fault:
    """A fault that is there exactly as long as its toxics are."""

    async def inject(bench: Bench, on: str, params: Any, memo: dict[str, Any], tag: str) -> dict[str, Any]:
        return {"toxics": await _add(bench, memo, tag, wanted(params))}

    async def undo(bench: Bench, on: str, params: Any, memo: dict[str, Any], tag: str) -> Cleared:
        return await _remove(bench, memo, tag, wanted(params))

    return Fault(name, params, PARTS, NEEDS, _prepare, inject, undo, bite, healed, summary)


async def _inject_reset(bench: Bench, on: str, params: Any, memo: dict[str, Any], tag: str) -> dict[str, Any]:
    added = await _add(bench, memo, tag, _reset(params))
    await _cut(bench, memo)
    return {"toxics": added}


async def _undo_reset(bench: Bench, on: str, params: Any, memo: dict[str, Any], tag: str) -> Cleared:
    cleared = await _remove(bench, memo, tag, _reset(params))
    if not _toxics_died(bench):
        # An injection that was cut off between closing and opening the proxy.
        await _reopen(bench, memo)
    return Cleared(cleared.low_ns, _clock.now_ns(), cleared.evidence)


async def _inject_down(bench: Bench, on: str, params: Any, memo: dict[str, Any], tag: str) -> dict[str, Any]:
    await _add(bench, memo, tag, _down(params))
    for proxy in memo["proxies"]:
        await bench.stack.toxiproxy.set_enabled(proxy, False)
    return {"disabled": memo["proxies"]}


async def _undo_down(bench: Bench, on: str, params: Any, memo: dict[str, Any], tag: str) -> Cleared:
    cleared = await _remove(bench, memo, tag, _down(params))
    if not _toxics_died(bench):
        await _reopen(bench, memo)
    return Cleared(cleared.low_ns, _clock.now_ns(), {**cleared.evidence, "enabled": memo["proxies"]})


def _ends_in(*outcomes: str) -> Callable[[str, Any], tuple[Proof, ...]]:
    return lambda on, params: (Proof(Source.OUTCOME, on, Relation.ONE_OF, words=outcomes),)


def _ends_no_more_in(*outcomes: str) -> Callable[[str, Any], tuple[Proof, ...]]:
    return lambda on, params: (Proof(Source.OUTCOME, on, Relation.NONE_OF, words=outcomes),)


def _quick_again(on: str, params: Any) -> tuple[Proof, ...]:
    return (Proof(Source.ROUND_TRIP_MS, on, Relation.BACK_TO_BASELINE),)


latency = _toxic_fault(
    "latency", LatencyParams, _latency, _latency_bite, _quick_again, "Everything a part says arrives late."
)
bandwidth = _toxic_fault(
    "bandwidth", BandwidthParams, _bandwidth, _bandwidth_bite, _quick_again, "Every connection carries only so much."
)
blackhole = _toxic_fault(
    "blackhole",
    BlackholeParams,
    _blackhole,
    _ends_in("timeout"),
    _ends_no_more_in("timeout"),
    "Data vanish while connections stay open.",
)
reset = Fault(
    "reset",
    NoParams,
    PARTS,
    NEEDS,
    _prepare,
    _inject_reset,
    _undo_reset,
    _ends_in("reset", "eof"),
    _ends_no_more_in("reset"),
    "All connections are cut, new ones are reset as soon as they speak.",
)
down = Fault(
    "down",
    NoParams,
    PARTS,
    NEEDS,
    _prepare,
    _inject_down,
    _undo_down,
    _ends_in("refused"),
    _ends_no_more_in("refused"),
    "All connections are cut, new ones are refused.",
)
