"""The value Fault: one way to break something, how to mend it, and what would show both."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from signal import Signals
from typing import Any, Protocol

from pydantic import BaseModel

from chaosd.kernel.proof import Proof
from chaosd.process.spawn import Handle
from chaosd.stack.ready import Started
from chaosd.stack.stack import Stack
from chaosd.testbed.gauges import Gauges
from chaosd.testbed.record import Record


class Bench(Protocol):
    """What a fault may touch: a testbed, in whichever process it was opened."""

    @property
    def stack(self) -> Stack:
        """The real parts and their proxies."""
        ...

    @property
    def record(self) -> Record:
        """The testbed as it is on the disk now: the target's topics, its group."""
        ...

    def members(self, on: str) -> tuple[str, ...]:
        """The processes that a name stands for: itself, or all of its kind. StackError where there is none."""
        ...

    async def start(self, process: str) -> Started:
        """Start a part or the target when it does not run, and wait until it serves. StackError when it does not."""
        ...

    def signal(self, process: str, sig: Signals) -> bool:
        """Signal a part or the target with all its descendants; False when it is gone."""
        ...

    def handle(self, process: str) -> Handle | None:
        """The process behind a part or the target; None where chaosd did not start it."""
        ...


@dataclass(frozen=True, slots=True)
class Cleared:
    """The fault is gone since a moment in [low_ns, high_ns] (CLOCK_MONOTONIC); `evidence` is for the journal."""

    low_ns: int
    high_ns: int
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Force:
    """What a driver is given beside the arguments of inject: chance, seeded for this injection, and how long it has."""

    rng: Random
    lasts_ns: int


Prepare = Callable[[Bench, str, Any], Awaitable[dict[str, Any]]]
Inject = Callable[[Bench, str, Any, dict[str, Any], str], Awaitable[dict[str, Any]]]
Undo = Callable[[Bench, str, Any, dict[str, Any], str], Awaitable[Cleared]]
During = Callable[[Bench, str, Any, dict[str, Any], str, Force], Awaitable[None]]
Proofs = Callable[[str, Any], tuple[Proof, ...]]
Told = Callable[[str, Any], tuple[Gauges, ...]]


def _nothing(on: str, params: Any) -> tuple[Gauges, ...]:
    return ()


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of fault. `params` is the model of what an experiment may say about it, `on` what it can hit.

    `prepare(bench, on, params)` reads what `undo` will need, changes nothing and gives the memo, JSON values only.
    `inject(bench, on, params, memo, tag)` breaks and gives what was read back. `undo`, with the same arguments, mends:
    it is idempotent, works when the injection came only half way, and in any process. `tag` is unique to the injection.
    All three raise StackError when the part is not as it must be.

    `needs` is the capability of the stack, `voids` names obligations of the target that the fault takes away. `starts`:
    undoing it starts a process, which nobody needs where the whole testbed is torn down. `irreversible`: what it breaks
    stays broken, undoing it only waits for the service; it needs a stack that is chaosd's `own`. `gauges(on, params)`:
    what its proofs want the servers to tell, read from the baseline on. `claims` is what the fault needs for itself:
    another one on the same thing that has the same claim must not overlap it. `keeps_out`: while it is in force the
    server lets nobody in, and chaosd can neither begin nor end another fault there for which it must log in.
    `deletes_topic`: the topic that its memo names ends with the injection, and another one of its name comes with the
    undo; the tap must let go of the one before it can read the other.

    `let_go`, where there is one, is how it ends in good order: what it did is over, something harmless is left, and the
    lease stays open until `undo` takes that away after the run. Where nobody is there to let go, `undo` does it all.

    `during`, where there is one, drives the fault while it is in force (draws a jitter, closes and opens a port). It is
    cut off before the undo, at any moment, even between two calls; the undo must be right all the same.
    """

    name: str
    params: type[BaseModel]
    on: tuple[str, ...]
    needs: str
    prepare: Prepare
    inject: Inject
    undo: Undo
    bite: Proofs
    healed: Proofs
    summary: str
    voids: tuple[str, ...] = ()
    starts: bool = False
    irreversible: bool = False
    gauges: Told = _nothing
    claims: tuple[str, ...] = ()
    keeps_out: bool = False
    deletes_topic: bool = False
    during: During | None = None
    let_go: Undo | None = None
