"""What the faults of the network share: toxics added under the injection's own names, read back, and removed by name.

What Toxiproxy's toxics really do: github.com/Shopify/toxiproxy#toxics; the surprising parts are pinned by
tests/infrastructure/test_toxiproxy_facts.py.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from chaosd.faults.fault import Bench, Cleared, During, Fault, Proofs
from chaosd.faults.params import Params
from chaosd.kernel.clock import SystemClock
from chaosd.kernel.errors import StackError
from chaosd.kernel.proof import Proof, Relation, Source
from chaosd.process import spawn

PARTS = ("redis", "kafka", "postgres")
NEEDS = "proxy"
TOXIPROXY = "toxiproxy"

_clock = SystemClock()


@dataclass(frozen=True, slots=True)
class Wanted:
    """A toxic to be added, on every proxy of the part. `label` is what its name says it is for."""

    type: str
    stream: str
    attributes: dict[str, int]
    label: str = ""


def names(tag: str, wanted: Sequence[Wanted]) -> list[str]:
    """What the toxics of an injection are called: unique per proxy over both streams, and fit for a URL."""
    stem = re.sub(r"[^A-Za-z0-9_.-]", "-", tag)
    return [f"{stem}.{toxic.label or toxic.type}.{toxic.stream}" for toxic in wanted]


async def prepare(bench: Bench, on: str, params: Params) -> dict[str, Any]:
    """The memo of every network fault: the names of the part's proxies. StackError when one is not there."""
    proxies = bench.stack.proxy_of(on)
    if not proxies:
        raise StackError(f"there is no proxy in front of {on}", remedy="use a stack that has one")
    present = await bench.stack.toxiproxy.list()
    if missing := [name for name in proxies if name not in present]:
        raise StackError(f"Toxiproxy has no proxy {', '.join(missing)}", remedy="chaosd stack down, then up")
    return {"proxies": list(proxies)}


async def add(bench: Bench, memo: dict[str, Any], tag: str, wanted: Sequence[Wanted]) -> list[dict[str, Any]]:
    """Add the toxics; gives what was read back."""
    added = []
    for proxy in memo["proxies"]:
        for name, toxic in zip(names(tag, wanted), wanted, strict=True):
            state = await bench.stack.toxiproxy.add_toxic(proxy, name, toxic.type, toxic.stream, toxic.attributes)
            added.append(
                {"proxy": proxy, "name": name, "type": state.type, "stream": state.stream, **dict(state.attributes)}
            )
    return added


async def update(bench: Bench, memo: dict[str, Any], tag: str, wanted: Sequence[Wanted]) -> None:
    """Give toxics that are there other attributes."""
    for proxy in memo["proxies"]:
        for name, toxic in zip(names(tag, wanted), wanted, strict=True):
            await bench.stack.toxiproxy.update_toxic(proxy, name, toxic.attributes)


def died(bench: Bench) -> bool:
    """Toxics live in Toxiproxy's memory: those of a dead one are gone, and its start makes all proxies anew."""
    handle = bench.handle(TOXIPROXY)
    return handle is not None and not spawn.alive(handle)


async def remove(bench: Bench, memo: dict[str, Any], tag: str, wanted: Sequence[Wanted]) -> Cleared:
    """Remove the toxics, as far as they are there."""
    return await _end_each(bench, memo, names(tag, wanted), bench.stack.toxiproxy.remove_toxic, "removed")


async def let_go(bench: Bench, memo: dict[str, Any], tag: str, wanted: Sequence[Wanted]) -> Cleared:
    """Take the toxics' effect from all connections and leave them there, where removing them would close those."""
    return await _end_each(bench, memo, names(tag, wanted), bench.stack.toxiproxy.let_go, "let_go")


async def _end_each(
    bench: Bench, memo: dict[str, Any], toxics: list[str], end: Callable[[str, str], Awaitable[None]], word: str
) -> Cleared:
    """End toxics on every proxy of the part; `word` names in the evidence how."""
    low_ns = _clock.now_ns()
    if died(bench):
        return Cleared(low_ns, low_ns, {"toxiproxy": "not running: its toxics are gone with it"})
    for proxy in memo["proxies"]:
        for name in toxics:
            await end(proxy, name)
    return Cleared(low_ns, _clock.now_ns(), {word: toxics})


def toxic_fault(
    name: str,
    params: type[Params],
    wanted: Callable[[Any], Sequence[Wanted]],
    *,
    bite: Proofs,
    healed: Proofs,
    summary: str,
    during: During | None = None,
    lets_go: bool = False,
) -> Fault:
    """A fault that is there exactly as long as its toxics are; or with `lets_go`, until they have no effect."""

    async def inject(bench: Bench, on: str, params: Any, memo: dict[str, Any], tag: str) -> dict[str, Any]:
        return {"toxics": await add(bench, memo, tag, wanted(params))}

    async def undo(bench: Bench, on: str, params: Any, memo: dict[str, Any], tag: str) -> Cleared:
        return await remove(bench, memo, tag, wanted(params))

    async def end(bench: Bench, on: str, params: Any, memo: dict[str, Any], tag: str) -> Cleared:
        return await let_go(bench, memo, tag, wanted(params))

    return Fault(
        name, params, PARTS, NEEDS, prepare, inject, undo, bite, healed, summary,
        during=during, let_go=end if lets_go else None,
    )  # fmt: skip


def ends_in(*outcomes: str) -> Proofs:
    """Probes of the part end in one of these."""
    return lambda on, params: (Proof(Source.OUTCOME, on, Relation.ONE_OF, words=outcomes),)


def ends_no_more_in(*outcomes: str) -> Proofs:
    """Probes of the part end well again, and in none of these."""
    return lambda on, params: (Proof(Source.OUTCOME, on, Relation.NONE_OF, words=outcomes),)


def quick_again(on: str, params: Any) -> tuple[Proof, ...]:
    """Probes of the part take as long as before."""
    return (Proof(Source.ROUND_TRIP_MS, on, Relation.BACK_TO_BASELINE),)
