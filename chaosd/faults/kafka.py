"""Faults of Kafka by its own means: a limit that has shrunk, a quota, a group that never comes to rest.

What a cluster is told holds for all of its brokers, so these are `on: kafka` and never on one broker.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from chaosd.faults import kafka_gauges as tells
from chaosd.faults import servers, storm
from chaosd.faults.fault import Bench, Cleared, Fault
from chaosd.faults.params import Bandwidth, Params, Period, Size, bandwidth_kb_s, period_s, size_bytes
from chaosd.kernel.errors import StackError
from chaosd.kernel.proof import Proof, Relation
from chaosd.process import spawn
from chaosd.stack.address import Address
from chaosd.stack.parts.kafka import admin

ON = ("kafka",)
_LIMIT = "max.message.bytes"
_KEYS = {"producer": "producer_byte_rate", "consumer": "consumer_byte_rate"}
# chaosd's own clients are not what a quota is for. A quota of this much is none.
_EXEMPT = ("chaosd-generator", "chaosd-tap", "chaosd-fresh", "chaosd-progress")
_NO_QUOTA = 1e12
# A protocol whose assignments everybody can make; a cooperative one has another talk.
_EAGER = ("range", "roundrobin", "sticky")
_STOP_S = 1.0
_LIMIT_LEAST, _LIMIT_MOST = 100, 1_000_000
_RATE_MOST_KB_S = 1_000

Which = Literal["output", "dlq"]
WhichOfAll = Literal["input", "output", "dlq"]


def _limit(text: str) -> str:
    # Below a broker's own default (1,048,588 B), so that what is refused was taken before.
    if not _LIMIT_LEAST <= size_bytes(text) <= _LIMIT_MOST:
        raise ValueError("a size from 100B to 1MB")
    return text


def _rate(text: str) -> str:
    # What proves it asks for half as much again.
    if bandwidth_kb_s(text) > _RATE_MOST_KB_S:
        raise ValueError("a bandwidth of at most 1MB/s")
    return text


class MaxMessageBytesParams(Params):
    """The topic takes no batch that is larger than that. On the input topic it is chaosd's own generator that is
    refused: such an envelope is not in the log, so nothing is owed for it.
    """

    limit: Annotated[Size, AfterValidator(_limit)] = Field(
        description="Of one batch as it is written, 61 B of which are its header; 100B to 1MB."
    )
    topic: WhichOfAll = Field(default="output", description="Which of the target's topics.")


class QuotaParams(Params):
    """Each client id may send or fetch only so much of each broker. chaosd's own clients are exempt."""

    rate: Annotated[Bandwidth, AfterValidator(_rate)] = Field(
        description="Of each client id, on each broker; 1 KB = 1000 B, at most 1MB/s."
    )
    of: Literal["producer", "consumer", "both"] = Field(default="both", description="Which clients are held to it.")

    @property
    def keys(self) -> tuple[str, ...]:
        """The quotas by Kafka's names."""
        return tuple(_KEYS[name] for name in _KEYS if self.of in (name, "both"))


class RebalanceParams(Params):
    """Members that do nothing join the target's group and leave it again, in turn."""

    every: Period = Field(default="1s", description="A member stays that long, and is away that long.")
    members: int = Field(default=1, ge=1, le=4, strict=True, description="How many come and go.")


async def _prepare_limit(bench: Bench, on: str, params: MaxMessageBytesParams) -> dict[str, Any]:
    topic = tells.topic(bench, params.topic)
    value, own = await tells.ask(
        bench.stack, lambda at: admin.topic_setting(at, topic, _LIMIT), f"the settings of {topic}"
    )
    return {"topic": topic, "value": value if own else None}


async def _inject_limit(bench: Bench, on: str, params: Any, memo: dict[str, Any], tag: str) -> dict[str, Any]:
    topic = memo["topic"]
    await tells.ask(
        bench.stack, lambda at: admin.set_topic(at, topic, _LIMIT, str(size_bytes(params.limit))), f"a limit of {topic}"
    )
    return {"topic": topic, _LIMIT: size_bytes(params.limit)}


async def _undo_limit(bench: Bench, on: str, params: Any, memo: dict[str, Any], tag: str) -> Cleared:
    topic, low_ns = memo["topic"], servers.clock.now_ns()

    async def restore(at: Address) -> None:
        try:
            await admin.set_topic(at, topic, _LIMIT, memo["value"])
        except admin.Refused as error:
            # Its topics are deleted with the target: a topic that is gone has no limit.
            if error.code != admin.UNKNOWN_TOPIC:
                raise

    await servers.patiently(lambda: tells.ask(bench.stack, restore, f"the limit of {topic}"))
    return Cleared(low_ns, servers.clock.now_ns(), {"topic": topic, _LIMIT: memo["value"] or "the broker's"})


async def _prepare_quota(bench: Bench, on: str, params: QuotaParams) -> dict[str, Any]:
    async def before(at: Address) -> list[dict[str, Any]]:
        return [
            {"key": key, "client": client, "value": await admin.quota(at, client, key)}
            for key in params.keys
            for client in (admin.EVERYBODY, *_EXEMPT)
        ]

    return {"quotas": await tells.ask(bench.stack, before, "the quotas of clients")}


async def _inject_quota(bench: Bench, on: str, params: QuotaParams, memo: dict[str, Any], tag: str) -> dict[str, Any]:
    rate = bandwidth_kb_s(params.rate) * 1_000.0
    wanted: dict[str | None, float | None] = {**dict.fromkeys(_EXEMPT, _NO_QUOTA), admin.EVERYBODY: rate}

    async def hold(at: Address) -> None:
        for key in params.keys:
            await admin.set_quotas(at, key, wanted)

    await tells.ask(bench.stack, hold, "a quota of clients")
    return {"bytes_s": rate, "quotas": list(params.keys), "exempt": list(_EXEMPT)}


async def _undo_quota(bench: Bench, on: str, params: QuotaParams, memo: dict[str, Any], tag: str) -> Cleared:
    low_ns = servers.clock.now_ns()

    async def restore(at: Address) -> None:
        for key in params.keys:
            before = {one["client"]: one["value"] for one in memo["quotas"] if one["key"] == key}
            await admin.set_quotas(at, key, before)

    await servers.patiently(lambda: tells.ask(bench.stack, restore, "the quotas of before"))
    return Cleared(low_ns, servers.clock.now_ns(), {"quotas": list(params.keys)})


async def _prepare_storm(bench: Bench, on: str, params: RebalanceParams) -> dict[str, Any]:
    group = bench.record.group
    found = await tells.ask(bench.stack, lambda at: tells.group(at, group), f"the group {group}")
    if not found.members:
        raise StackError(f"nobody is in the consumer group {group}")
    if found.assignor not in _EAGER:
        raise StackError(
            f"the group {group} shares out its partitions by {found.assignor}, which chaosd does not speak"
        )
    return {"group": group, "topic": tells.topic(bench, "input"), "assignor": found.assignor}


async def _inject_storm(
    bench: Bench, on: str, params: RebalanceParams, memo: dict[str, Any], tag: str
) -> dict[str, Any]:
    recipe = storm.recipe(
        storm.Order(
            bootstrap=bench.stack.endpoints.direct.bootstrap,
            group=memo["group"],
            topic=memo["topic"],
            assignor=memo["assignor"],
            client=servers.mark(tag),
            members=params.members,
            every_s=period_s(params.every),
        ),
        part=servers.mark(tag),
        log=str(bench.stack.folder / "storm.log"),
    )
    handle = spawn.start(recipe, bench.record.marker)
    return {"pid": handle.pid, "started": handle.started, "members": params.members}


async def _undo_storm(bench: Bench, on: str, params: RebalanceParams, memo: dict[str, Any], tag: str) -> Cleared:
    low_ns = servers.clock.now_ns()
    # Found by its mark: whoever started it may have died before that was written down.
    found = spawn.marked(bench.record.marker, servers.mark(tag))
    for process in found:
        await asyncio.to_thread(spawn.end, process, _STOP_S)

    async def put_out(at: Address) -> Sequence[str]:
        group = await tells.group(at, memo["group"])
        left = [member.id for member in group.members if member.client == servers.mark(tag)]
        if left:
            await admin.remove_members(await admin.coordinator(at, memo["group"]), memo["group"], left)
        return left

    left = await servers.patiently(lambda: tells.ask(bench.stack, put_out, f"the group {memo['group']}"))
    return Cleared(low_ns, servers.clock.now_ns(), {"processes": len(found), "members_removed": len(left)})


def _kinds(params: QuotaParams) -> list[str]:
    return [kind for kind, key in _KEYS.items() if key in params.keys]


def _bytes_s(params: QuotaParams) -> int:
    return bandwidth_kb_s(params.rate) * 1_000


def _by_throttle(relation: Relation, amount: float) -> Callable[[str, Any], tuple[Proof, ...]]:
    def proofs(on: str, params: QuotaParams) -> tuple[Proof, ...]:
        rate = _bytes_s(params)
        return tuple(tells.told(on, tells.throttled(kind, rate), relation, amount) for kind in _kinds(params))

    return proofs


def _by_refusal(relation: Relation, amount: float) -> Callable[[str, Any], tuple[Proof, ...]]:
    def proofs(on: str, params: MaxMessageBytesParams) -> tuple[Proof, ...]:
        gauge = tells.refuses(params.topic, size_bytes(params.limit))
        return (tells.told(on, gauge, relation, amount),)

    return proofs


max_message_bytes = Fault(
    "max_message_bytes",
    MaxMessageBytesParams,
    ON,
    servers.NEEDS,
    _prepare_limit,
    _inject_limit,
    _undo_limit,
    _by_refusal(Relation.AT_LEAST, 1),
    _by_refusal(Relation.AT_MOST, 0),
    "A topic takes only small batches (max.message.bytes): larger ones are refused.",
    gauges=lambda on, params: (tells.refusal(params.topic, size_bytes(params.limit)),),
    claims=("topics",),
)
quota = Fault(
    "quota",
    QuotaParams,
    ON,
    servers.NEEDS,
    _prepare_quota,
    _inject_quota,
    _undo_quota,
    _by_throttle(Relation.AT_LEAST, 1),
    _by_throttle(Relation.AT_MOST, 0),
    "Kafka lets clients send or fetch only so many bytes a second, and makes them wait for the rest.",
    gauges=lambda on, params: tuple(tells.throttle(kind, _bytes_s(params)) for kind in _kinds(params)),
)
rebalance = Fault(
    "rebalance",
    RebalanceParams,
    ON,
    servers.NEEDS,
    _prepare_storm,
    _inject_storm,
    _undo_storm,
    lambda on, params: (tells.told(on, "strangers", Relation.AT_LEAST, 1),),
    lambda on, params: (tells.told(on, "strangers", Relation.AT_MOST, 0),),
    "Members that do nothing join the target's consumer group and leave it, again and again.",
    gauges=lambda on, params: (tells.strangers(servers.BREAKS),),
)
