"""A topic of the target is deleted with everything in it, and made again, empty.

What it held is gone for good: only the place for it comes back, with as many partitions and copies and with the
settings that were made on the topic itself. Offsets begin again; the tap is told, and reads the new topic as another
one (docs/decisions/0040-a-deleted-topic-comes-back-as-another.md).
"""

from __future__ import annotations

import asyncio
from typing import Any

from pydantic import Field

from chaosd.faults import kafka_gauges as tells
from chaosd.faults import servers
from chaosd.faults.fault import Bench, Cleared, Fault
from chaosd.faults.kafka import ON, Which
from chaosd.faults.params import Params
from chaosd.kernel.errors import StackError
from chaosd.kernel.proof import Proof, Relation
from chaosd.stack.address import Address
from chaosd.stack.part import NotReady
from chaosd.stack.parts.kafka import protocol, topics

_LOOK_S = 0.02
_SPREADS_S = 10.0
# A deletion that was on its way when whoever asked for it died is done within this time.
_ON_ITS_WAY_S = 0.3


class TopicDeletedParams(Params):
    """The topic is deleted with all its records, and made again, empty, when the fault ends."""

    topic: Which = Field(default="output", description="Which of the target's topics.")


async def _prepare(bench: Bench, on: str, params: TopicDeletedParams) -> dict[str, Any]:
    topic = tells.topic(bench, params.topic)

    async def read(at: Address) -> dict[str, Any]:
        known = (await protocol.metadata(at)).partitions.get(topic, {})
        if not known:
            raise StackError(f"the topic {topic} is not there, so it cannot be deleted")
        copies = min(len(partition.replicas) for partition in known.values())
        own = await topics.settings(at, topic)
        return {"topic": topic, "partitions": len(known), "copies": copies, "settings": own}

    return await tells.ask(bench.stack, read, f"the topic {topic}")


async def _inject(bench: Bench, on: str, params: Any, memo: dict[str, Any], tag: str) -> dict[str, Any]:
    topic = memo["topic"]
    ends = await tells.ask(bench.stack, lambda at: topics.ends(at, topic), f"the ends of {topic}")
    await tells.ask(bench.stack, lambda at: topics.delete(at, topic), f"the deletion of {topic}")
    await _everywhere(bench, topic, 0)
    return {"topic": topic, "ends": ends}


async def _undo(bench: Bench, on: str, params: Any, memo: dict[str, Any], tag: str) -> Cleared:
    topic, low_ns = memo["topic"], servers.clock.now_ns()

    async def make(at: Address) -> bool:
        return await topics.create(at, topic, memo["partitions"], memo["copies"], memo["settings"])

    async def restore() -> bool:
        return await tells.ask(bench.stack, make, f"the topic {topic}")

    made = await servers.patiently(restore)
    if not made:
        await asyncio.sleep(_ON_ITS_WAY_S)
        made = await servers.patiently(restore)
    await servers.patiently(lambda: _everywhere(bench, topic, memo["partitions"]))
    return Cleared(low_ns, servers.clock.now_ns(), {"topic": topic, "partitions": memo["partitions"], "made": made})


async def _everywhere(bench: Bench, topic: str, partitions: int) -> None:
    """Wait until every broker that answers knows the topic with so many led partitions; StackError when it does not."""
    try:
        async with asyncio.timeout(_SPREADS_S):
            while any([await _led(at, topic) not in (None, partitions) for at in tells.brokers(bench.stack)]):
                await asyncio.sleep(_LOOK_S)
    except TimeoutError as error:
        raise StackError(f"not all brokers know within {_SPREADS_S:g} s that {topic} has {partitions} parts") from error


async def _led(at: Address, topic: str) -> int | None:
    """How many partitions of a topic have a leader, as a broker sees it; None where it does not answer."""
    try:
        return tells.led(await protocol.metadata(at), topic)
    except (NotReady, OSError, TimeoutError):
        return None


def _bites(on: str, params: TopicDeletedParams) -> tuple[Proof, ...]:
    missing, _, serves = tells.presence_of(params.topic)
    return (tells.told(on, missing, Relation.AT_LEAST, 1), tells.told(on, serves, Relation.AT_MOST, 0))


def _heals(on: str, params: TopicDeletedParams) -> tuple[Proof, ...]:
    missing, partitions, serves = tells.presence_of(params.topic)
    return (
        tells.told(on, missing, Relation.AT_MOST, 0),
        tells.told(on, partitions, Relation.BACK_TO_BASELINE),
        tells.told(on, serves, Relation.AT_LEAST, 1),
    )


topic_deleted = Fault(
    "topic_deleted",
    TopicDeletedParams,
    ON,
    servers.OWN,
    _prepare,
    _inject,
    _undo,
    _bites,
    _heals,
    "A topic is deleted with all its records, and made again, empty, with the same partitions and settings.",
    voids=("topic",),
    irreversible=True,
    gauges=lambda on, params: (tells.presence(params.topic),),
    claims=("topics",),
    deletes_topic=True,
)
