"""Faults of the network that are there as long as their toxics are: delays, caps, black holes, cut and late ends."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from pydantic import Field, model_validator

from chaosd.faults import params as words
from chaosd.faults.fault import Bench, Force
from chaosd.faults.params import (
    Delay,
    Direction,
    Params,
    PieceDelay,
    RampingBandwidth,
    RampingDelay,
    Size,
)
from chaosd.faults.toxics import Wanted, ends_in, ends_no_more_in, quick_again, toxic_fault, update
from chaosd.kernel.clock import SECOND, SystemClock
from chaosd.kernel.proof import Proof, Relation, Source

# A canary gives up after a second: what delays it for longer shows as time-outs, not as a rise.
_SHOWN_AS_RISE_MS = 900
# How often at most a delay is drawn anew or moved, and for how many times its length it stays.
_STEP_S = 0.2
_UNDISTURBED = 3
_RATE_STEP_S = 1.0
# The cap that a slicer makes is shown by transfers of a fraction of a second.
_SLICED_KB_S = (4, 500)
# A canary moves at most so much at once, and must move more than the limit to run into it.
_LIMIT_BYTES_MAX = 500_000
_BEYOND_LIMIT = 1.5

_clock = SystemClock()


class LatencyParams(Params):
    """Answers (or requests) arrive late, one by one; the handshake of a new connection does not."""

    latency: RampingDelay = Field(
        description="How much later data arrive; or {from, to}: it moves from one to the other while the fault is in "
        "force. `both` adds it once in each direction.",
        examples=["400ms", "1.5s"],
        json_schema_extra={words.FORM: "whole milliseconds, 0ms to 60s; or {from, to}"},
    )
    jitter: Delay = Field(
        default="0ms",
        description="Drawn by chaosd from the run's seed, anew every few delays: latency ± jitter.",
    )
    direction: Direction = Field(default="downstream", description="upstream: requests, downstream: answers.")

    @model_validator(mode="after")
    def _jitter_within(self) -> LatencyParams:
        if self.jitter_ms > min(self.latency_ms):
            raise ValueError("a jitter of at most the latency")
        if max(self.latency_ms) == 0:
            raise ValueError("a latency above 0ms")
        return self

    @property
    def latency_ms(self) -> tuple[int, int]:
        """The delay of one direction, at the beginning and at the end."""
        first, last = words.ends(self.latency)
        return words.delay_ms(first), words.delay_ms(last)

    @property
    def jitter_ms(self) -> int:
        """The largest deviation from it."""
        return words.delay_ms(self.jitter)


class BandwidthParams(Params):
    """Each connection carries at most so much."""

    rate: RampingBandwidth = Field(
        description="Per connection and direction; 1 KB = 1000 B. Or {from, to}: it moves from one to the other.",
        examples=["50KB/s", "1MB/s"],
        json_schema_extra={words.FORM: "whole KB/s, from 1KB/s; or {from, to}"},
    )
    direction: Direction = Field(default="downstream", description="upstream: requests, downstream: answers.")

    @property
    def rate_kb_s(self) -> tuple[int, int]:
        """The cap, at the beginning and at the end."""
        first, last = words.ends(self.rate)
        return words.bandwidth_kb_s(first), words.bandwidth_kb_s(last)


class BlackholeParams(Params):
    """Data vanish, connections stay open: nobody is told. They are closed when it ends."""

    direction: Direction = Field(
        default="both", description="upstream: requests never arrive. downstream: they are carried out, unanswered."
    )


class MuteParams(BlackholeParams):
    """When it ends, connections carry again, but what was on its way is lost: who waits for it waits for ever."""


class SlicerParams(Params):
    """Data arrive in small pieces, each a little later than the one before."""

    size: Size = Field(description="About how large a piece is.", examples=["64B", "1KB"])
    variation: Size = Field(default="0B", description="How much larger a piece may be; below `size`.")
    delay: PieceDelay = Field(description="The pause after each piece.", examples=["500us", "2ms"])
    direction: Direction = Field(default="downstream", description="upstream: requests, downstream: answers.")

    @model_validator(mode="after")
    def _can_be_made(self) -> SlicerParams:
        size, variation = words.size_bytes(self.size), words.size_bytes(self.variation)
        if variation >= size:  # ends Toxiproxy
            raise ValueError("a variation below the size")
        low, high = _SLICED_KB_S
        if not low <= self.rate_kb_s <= high:
            raise ValueError(
                f"pieces and pauses that let {low}KB/s to {high}KB/s through, for only that can be shown "
                f"(size / delay; these make {self.rate_kb_s:.3g}KB/s)"
            )
        return self

    @property
    def rate_kb_s(self) -> float:
        """What a connection carries at most, as a consequence."""
        largest = words.size_bytes(self.size) + words.size_bytes(self.variation)
        return largest / 1_000 / (words.delay_us(self.delay) / 1_000_000)


class LimitDataParams(Params):
    """Each connection is closed as soon as it has carried so much; a new one begins anew."""

    bytes: Size = Field(description="What each connection carries, at most 500KB.", examples=["4KB", "64KB"])
    direction: Direction = Field(default="downstream", description="upstream: requests, downstream: answers.")

    @model_validator(mode="after")
    def _can_be_shown(self) -> LimitDataParams:
        if words.size_bytes(self.bytes) > _LIMIT_BYTES_MAX:
            raise ValueError("a limit of at most 500KB")
        return self


class SlowCloseParams(Params):
    """The end of a connection is told late; data are not delayed."""

    delay: Delay = Field(description="How much later the other side sees the end.", examples=["500ms"])
    direction: Direction = Field(
        default="downstream", description="upstream: the server sees it late, downstream: the client does."
    )

    @model_validator(mode="after")
    def _some(self) -> SlowCloseParams:
        if words.delay_ms(self.delay) == 0:
            raise ValueError("a delay above 0ms")
        return self


def _latency(params: LatencyParams) -> Sequence[Wanted]:
    # Toxiproxy's own jitter stays 0: it would draw from a seed that nobody knows.
    attributes = {"latency": params.latency_ms[0], "jitter": 0}
    return [Wanted("latency", stream, attributes) for stream in words.streams(params.direction)]


async def _delaying(bench: Bench, on: str, params: LatencyParams, memo: dict[str, Any], tag: str, force: Force) -> None:
    """Draw the jitter, and move along a ramp.

    An update lets go what the toxic holds back at that moment, so each delay is left alone for a few times its length.
    """
    first, last = params.latency_ms
    if first == last and not params.jitter_ms:
        return
    streams, began_ns = words.streams(params.direction), _clock.now_ns()
    while True:
        # By the clock: on a busy machine an update takes its time too.
        passed_s = (_clock.now_ns() - began_ns) / SECOND
        now_ms = _between(first, last, passed_s, force)
        lasts_s = max(_STEP_S, _UNDISTURBED * (now_ms + params.jitter_ms) / 1_000)
        middle_ms = _between(first, last, passed_s + lasts_s / 2, force)
        drawn = [middle_ms + force.rng.randint(-params.jitter_ms, params.jitter_ms) for _ in streams]
        delays = zip(streams, drawn, strict=True)
        await update(bench, memo, tag, [Wanted("latency", name, {"latency": max(0, ms)}) for name, ms in delays])
        await asyncio.sleep(lasts_s)


async def _widening(
    bench: Bench, on: str, params: BandwidthParams, memo: dict[str, Any], tag: str, force: Force
) -> None:
    """Move along a ramp. An update lets go what the toxic holds back: one chunk a step passes uncapped."""
    first, last = params.rate_kb_s
    if first == last:
        return
    streams, began_ns = words.streams(params.direction), _clock.now_ns()
    while True:
        passed_s = (_clock.now_ns() - began_ns) / SECOND
        rate = {"rate": max(1, _between(first, last, passed_s + _RATE_STEP_S / 2, force))}
        await update(bench, memo, tag, [Wanted("bandwidth", name, rate) for name in streams])
        await asyncio.sleep(_RATE_STEP_S)


def _between(first: int, last: int, passed_s: float, force: Force) -> int:
    """Where a ramp is after so long."""
    return round(first + (last - first) * min(1.0, passed_s / (force.lasts_ns / SECOND)))


def _latency_bite(on: str, params: LatencyParams) -> tuple[Proof, ...]:
    ways = len(words.streams(params.direction))
    first, last = (ms * ways for ms in params.latency_ms)
    sure_ms = min(first, last) - params.jitter_ms * ways
    if first != last:
        seen = [min(ms, _SHOWN_AS_RISE_MS) for ms in (first, last)]
        # Between the middles of the window's first and last third lie two thirds of the way.
        moved = (seen[1] - seen[0]) * 2 / 3
        return (Proof(Source.ROUND_TRIP_MS, on, Relation.MOVES_BY, moved),)
    if sure_ms > _SHOWN_AS_RISE_MS:
        return (Proof(Source.OUTCOME, on, Relation.ONE_OF, words=("timeout",)),)
    return (Proof(Source.ROUND_TRIP_MS, on, Relation.RISES_BY, float(sure_ms)),)


def _bandwidth(params: BandwidthParams) -> Sequence[Wanted]:
    return [Wanted("bandwidth", stream, {"rate": params.rate_kb_s[0]}) for stream in words.streams(params.direction)]


def _bandwidth_bite(on: str, params: BandwidthParams) -> tuple[Proof, ...]:
    first, last = params.rate_kb_s
    relation = Relation.NEAR if first == last else Relation.AT_MOST
    return tuple(
        Proof(Source.RATE_KB_S, on, relation, float(max(first, last)), stream=stream)
        for stream in words.streams(params.direction)
    )


def _blackhole(params: BlackholeParams) -> Sequence[Wanted]:
    # timeout 0 never closes; any other value would, after that time.
    return [Wanted("timeout", stream, {"timeout": 0}) for stream in words.streams(params.direction)]


def _slicer(params: SlicerParams) -> Sequence[Wanted]:
    attributes = {
        "average_size": words.size_bytes(params.size),
        "size_variation": words.size_bytes(params.variation),
        "delay": words.delay_us(params.delay),
    }
    return [Wanted("slicer", stream, attributes) for stream in words.streams(params.direction)]


def _slicer_bite(on: str, params: SlicerParams) -> tuple[Proof, ...]:
    return _each(on, params, Source.RATE_KB_S, Relation.AT_MOST, params.rate_kb_s)


def _slicer_healed(on: str, params: SlicerParams) -> tuple[Proof, ...]:
    return (*quick_again(on, params), *_each(on, params, Source.RATE_KB_S, Relation.ABOVE, params.rate_kb_s))


def _limit_data(params: LimitDataParams) -> Sequence[Wanted]:
    limit = {"bytes": words.size_bytes(params.bytes)}
    return [Wanted("limit_data", stream, limit) for stream in words.streams(params.direction)]


def _limit_data_bite(on: str, params: LimitDataParams) -> tuple[Proof, ...]:
    beyond = words.size_bytes(params.bytes) * _BEYOND_LIMIT
    return _each(on, params, Source.BULK_OUTCOME, Relation.ONE_OF, beyond, ("eof", "reset"))


def _limit_data_healed(on: str, params: LimitDataParams) -> tuple[Proof, ...]:
    beyond = words.size_bytes(params.bytes) * _BEYOND_LIMIT
    return _each(on, params, Source.BULK_OUTCOME, Relation.NONE_OF, beyond, ("eof", "reset"))


def _slow_close(params: SlowCloseParams) -> Sequence[Wanted]:
    delay = {"delay": words.delay_ms(params.delay)}
    return [Wanted("slow_close", stream, delay) for stream in words.streams(params.direction)]


def _slow_close_bite(on: str, params: SlowCloseParams) -> tuple[Proof, ...]:
    return (Proof(Source.CLOSE_MS, on, Relation.RISES_BY, _late_ms(params)),)


def _slow_close_healed(on: str, params: SlowCloseParams) -> tuple[Proof, ...]:
    return (Proof(Source.CLOSE_MS, on, Relation.BACK_TO_BASELINE, _late_ms(params)),)


def _late_ms(params: SlowCloseParams) -> float:
    """What a probe sees of it: one that gives up after a second counts as one that took so long."""
    return float(min(words.delay_ms(params.delay) * len(words.streams(params.direction)), _SHOWN_AS_RISE_MS))


def _each(
    on: str, params: Any, source: Source, relation: Relation, amount: float, outcomes: tuple[str, ...] = ()
) -> tuple[Proof, ...]:
    """The same proof of each direction."""
    return tuple(
        Proof(source, on, relation, float(amount), words=outcomes, stream=stream)
        for stream in words.streams(params.direction)
    )


latency = toxic_fault(
    "latency",
    LatencyParams,
    _latency,
    bite=_latency_bite,
    healed=quick_again,
    summary="Everything a part says arrives late.",
    during=_delaying,
)
bandwidth = toxic_fault(
    "bandwidth",
    BandwidthParams,
    _bandwidth,
    bite=_bandwidth_bite,
    healed=quick_again,
    summary="Every connection carries only so much.",
    during=_widening,
)
blackhole = toxic_fault(
    "blackhole",
    BlackholeParams,
    _blackhole,
    bite=ends_in("timeout"),
    healed=ends_no_more_in("timeout"),
    summary="Data vanish while connections stay open.",
)
mute = toxic_fault(
    "mute",
    MuteParams,
    _blackhole,
    bite=ends_in("timeout"),
    healed=ends_no_more_in("timeout"),
    summary="Data vanish, and nobody is told: connections stay open, also when it ends.",
    lets_go=True,
)
slicer = toxic_fault(
    "slicer",
    SlicerParams,
    _slicer,
    bite=_slicer_bite,
    healed=_slicer_healed,
    summary="Data arrive in small pieces, one after the other.",
)
limit_data = toxic_fault(
    "limit_data",
    LimitDataParams,
    _limit_data,
    bite=_limit_data_bite,
    healed=_limit_data_healed,
    summary="Every connection is closed once it has carried so much.",
)
slow_close = toxic_fault(
    "slow_close",
    SlowCloseParams,
    _slow_close,
    bite=_slow_close_bite,
    healed=_slow_close_healed,
    summary="The end of a connection is told late.",
)
