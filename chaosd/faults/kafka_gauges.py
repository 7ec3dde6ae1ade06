"""What Kafka tells of itself: how it takes a batch or a fetch that changes nothing, who leads, who is in a group,
which topics there are.

Sources: as in `stack/parts/kafka/admin.py`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

from chaosd.faults.fault import Bench
from chaosd.kernel import names
from chaosd.kernel.errors import StackError
from chaosd.kernel.proof import Proof, Relation, Source
from chaosd.stack.address import Address
from chaosd.stack.part import NotReady
from chaosd.stack.parts.kafka import admin, protocol
from chaosd.stack.stack import Stack
from chaosd.testbed.gauges import Gauges, Read
from chaosd.testbed.testbed import Testbed

KAFKA = "kafka"
# A client id of chaosd's that is held to a quota as the target's clients are.
THROTTLED = "chaosd-gauge"
_TROUBLE = (NotReady, OSError, TimeoutError)
# Gauges are read five times a second. A probe that takes this share of a quota each time takes half as much again as
# is allowed, so it is throttled itself, and soon.
_SHARE = 0.3
# What is offered to a topic to see whether it takes anything.
_OFFER_BYTES = 200

T = TypeVar("T")
Once = Callable[[Testbed, Address], Awaitable[Sequence[int]]]


def told(on: str, gauge: str, relation: Relation, amount: float = 0.0) -> Proof:
    """A proof by one of these gauges."""
    return Proof(Source.GAUGE, on, relation, amount, gauge=gauge)


def brokers(stack: Stack) -> tuple[Address, ...]:
    """The DIRECT addresses of all brokers."""
    direct = stack.endpoints.direct
    return direct.brokers or (direct.kafka,)


async def ask(stack: Stack, work: Callable[[Address], Awaitable[T]], what: str) -> T:
    """Ask the first broker that answers. Raises StackError when none does, or when one says no."""
    why: Exception | None = None
    for broker in brokers(stack):
        try:
            return await work(broker)
        except admin.Refused as error:
            raise StackError(f"{what}: {error}") from error
        except _TROUBLE as error:
            why = error
    raise StackError(f"{what}: no broker answers ({why or 'in time'})", remedy="chaosd stack status")


def topic(testbed: Bench | Testbed, role: str) -> str:
    """The run's topic of this role. Raises StackError where there is none."""
    found = next((one.name for one in testbed.record.topics if one.role == role), None)
    if found is None:
        raise StackError(f"the target has no {role} topic")
    return found


async def group(at: Address, name: str) -> admin.Group:
    """A consumer group, as its coordinator tells it."""
    return await admin.describe_group(await admin.coordinator(at, name), name)


def _gauges(on: str, told: tuple[str, ...], once: Once, without: str = "") -> Gauges:
    """Values that `once(testbed, broker)` reads, never of the broker `without`.

    A broker that does not answer costs one reading: the next one is asked of the next.
    """
    turn = 0

    @asynccontextmanager
    async def session(testbed: Testbed) -> AsyncIterator[Read]:
        known = names.members(testbed.parts, KAFKA)
        asked = [testbed.stack.endpoints.direct.of(name) for name in known if name != without]

        async def read() -> Sequence[int]:
            nonlocal turn
            try:
                return await once(testbed, asked[turn % len(asked)])
            except NotReady as error:
                turn += 1
                raise StackError(f"Kafka does not tell: {error}") from error
            except BaseException:
                turn += 1
                raise

        yield read

    return Gauges(on, told, session)


def member(broker: str) -> Gauges:
    """Of one broker of a cluster, as the others see it: the partitions that it `leads`, and those that it has copies
    of and is `out_of_sync` with.
    """
    number = int(broker.rpartition("/")[2])

    async def once(testbed: Testbed, at: Address) -> Sequence[int]:
        known = (await protocol.metadata(at)).partitions.values()
        partitions = [partition for numbered in known for partition in numbered.values()]
        leads = sum(partition.leader == number for partition in partitions)
        out = sum(number in partition.replicas - partition.in_sync for partition in partitions)
        return leads, out

    return _gauges(broker, ("leads", "out_of_sync"), once, without=broker)


def refusal(role: str, limit: int) -> Gauges:
    """Whether the topic of this role refuses a batch that is one byte larger than `limit`."""

    async def once(testbed: Testbed, at: Address) -> Sequence[int]:
        name = topic(testbed, role)
        tried = await admin.try_to_write(await admin.leader(at, name), name, limit + 1)
        return (int(tried.code == admin.TOO_LARGE),)

    return _gauges(KAFKA, (refuses(role, limit),), once)


def refuses(role: str, limit: int) -> str:
    """The name of the gauge of `refusal`."""
    return f"{role}_refuses_{limit + 1}B"


def presence(role: str) -> Gauges:
    """Whether the topic of this role is missing, how many of its partitions have a leader, and whether partition 0
    takes an offer and gives a fetch.
    """

    async def once(testbed: Testbed, at: Address) -> Sequence[int]:
        name = topic(testbed, role)
        told = await protocol.metadata(at)
        if name not in told.partitions:
            return 1, 0, 0
        try:
            first = await admin.leader(at, name)
            await admin.try_to_write(first, name, _OFFER_BYTES)
            await admin.try_to_read(first, name, _OFFER_BYTES)
        except admin.Refused as error:
            # It has gone, or its leader has not heard of it yet.
            if error.code not in (admin.UNKNOWN_TOPIC, admin.NOT_LEADER):
                raise
            return 0, led(told, name), 0
        return 0, led(told, name), 1

    return _gauges(KAFKA, presence_of(role), once)


def presence_of(role: str) -> tuple[str, str, str]:
    """The names of the gauges of `presence`."""
    return f"{role}_missing", f"{role}_partitions", f"{role}_serves"


def led(told: protocol.Metadata, topic: str) -> int:
    """How many partitions of a topic have a leader."""
    return sum(partition.leader in told.brokers for partition in told.partitions.get(topic, {}).values())


def throttle(kind: str, bytes_s: int) -> Gauges:
    """How long a producer or a consumer of its own, which asks for a little more than `bytes_s`, is told to wait."""
    role, probe = ("output", admin.try_to_write) if kind == "producer" else ("input", admin.try_to_read)

    async def once(testbed: Testbed, at: Address) -> Sequence[int]:
        name = topic(testbed, role)
        tried = await probe(await admin.leader(at, name), name, round(_SHARE * bytes_s), THROTTLED)
        return (tried.throttle_ms,)

    return _gauges(KAFKA, (throttled(kind, bytes_s),), once)


def throttled(kind: str, bytes_s: int) -> str:
    """The name of the gauge of `throttle`."""
    return f"{kind}_throttle_ms_at_{bytes_s}B_s"


def strangers(prefix: str) -> Gauges:
    """How many members of the target's group have a client id that begins so."""

    async def once(testbed: Testbed, at: Address) -> Sequence[int]:
        found = await group(at, testbed.record.group)
        return (sum(one.client.startswith(prefix) for one in found.members),)

    return _gauges(KAFKA, ("strangers",), once)
