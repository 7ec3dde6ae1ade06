"""What aiokafka's admin client cannot ask of a broker: topic settings one by one, quotas, members that others remove.

Making and deleting topics is in `topics.py`.

Message formats: kafka.apache.org/protocol, in their last non-flexible versions. KIP-339 (IncrementalAlterConfigs),
KIP-546 (client quotas), KIP-345 (LeaveGroup for others), KIP-219 (a throttled answer comes at once and says so).
All of it raises NotReady, OSError or TimeoutError while the broker cannot be asked, and Refused when it says no.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chaosd.stack.address import Address
from chaosd.stack.part import NotReady
from chaosd.stack.parts.kafka import protocol
from chaosd.stack.parts.kafka.protocol import array, call, text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_PRODUCE, _FETCH, _FIND_COORDINATOR, _LEAVE_GROUP, _DESCRIBE_GROUPS = 0, 1, 10, 13, 15
_DESCRIBE_CONFIGS, _ALTER_CONFIGS, _DESCRIBE_QUOTAS, _ALTER_QUOTAS = 32, 44, 48, 49
_TOPIC = 2  # a resource of the kind topic
_SET, _DELETE = 0, 1
_FROM_TOPIC = 1  # a setting that was made on the topic itself
_EXACT, _DEFAULT = 0, 1
_CLIENT_ID = "client-id"
_CALL_S = 3.0

UNKNOWN_TOPIC, NOT_LEADER, TOO_LARGE = 3, 6, 10
UNKNOWN_MEMBER = 25
_CORRUPT = 2
# Where no group is: what a broker tells of one that it does not know.
DEAD = "Dead"

# The entity of all clients that have no quota of their own.
EVERYBODY = None


class Refused(NotReady):
    """The broker answered, with an error; `code` is Kafka's."""

    def __init__(self, what: str, code: int, why: str = "") -> None:
        super().__init__(f"Kafka refuses {what}: error {code} {why}".rstrip())
        self.code = code


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a consumer group."""

    id: str
    client: str


@dataclass(frozen=True, slots=True)
class Group:
    """A group as its coordinator tells it. `state`: Stable, PreparingRebalance, …, Dead for one that there is not."""

    state: str
    assignor: str
    members: tuple[Member, ...]


def _told(what: str, code: int, why: str = "") -> None:
    if code:
        raise Refused(what, code, why)


async def topic_setting(address: Address, topic: str, name: str) -> tuple[str, bool]:
    """A setting of a topic, and whether it was made on the topic itself (and does not come from the broker)."""
    body = array([struct.pack(">b", _TOPIC) + text(topic) + array([text(name)])]) + b"\0"
    answer = await call(address, _DESCRIBE_CONFIGS, 1, body, _CALL_S)
    answer.take("i")
    found = ("", False)
    for _ in answer.count():
        _told(f"to tell the settings of {topic}", answer.take("h"), answer.text())
        answer.take("b")
        answer.text()
        for _ in answer.count():
            answer.text()
            value, _, source, _ = answer.text(), answer.take("b"), answer.take("b"), answer.take("b")
            found = (value, source == _FROM_TOPIC)
            for _ in answer.count():
                answer.text(), answer.text(), answer.take("b")
    return found


async def set_topic(address: Address, topic: str, name: str, value: str | None) -> None:
    """Make one setting of a topic and leave the others; None takes it back to the broker's."""
    change = text(name) + struct.pack(">b", _DELETE if value is None else _SET) + text(value)
    body = array([struct.pack(">b", _TOPIC) + text(topic) + array([change])]) + b"\0"
    answer = await call(address, _ALTER_CONFIGS, 0, body, _CALL_S)
    answer.take("i")
    for _ in answer.count():
        _told(f"to set {name} of {topic}", answer.take("h"), answer.text())


async def quota(address: Address, client: str | None, key: str) -> float | None:
    """A quota of the clients of this id (or of EVERYBODY) alone, None where they have none of their own."""
    match = struct.pack(">b", _DEFAULT if client is None else _EXACT) + text(client)
    body = array([text(_CLIENT_ID) + match]) + b"\1"  # strict: not those of users, too
    answer = await call(address, _DESCRIBE_QUOTAS, 0, body, _CALL_S)
    answer.take("i")
    _told("to tell quotas", answer.take("h"), answer.text())
    found = None
    for _ in answer.count():
        for _ in answer.count():
            answer.text(), answer.text()
        for _ in answer.count():
            name, value = answer.text(), answer.real()
            found = value if name == key else found
    return found


async def set_quotas(address: Address, key: str, wanted: Mapping[str | None, float | None]) -> None:
    """Give the clients of each id (EVERYBODY: those without a quota of their own) this many bytes a second of each
    broker, or take it away with None.
    """

    def entry(client: str | None, value: float | None) -> bytes:
        operation = text(key) + struct.pack(">d?", value or 0.0, value is None)
        return array([text(_CLIENT_ID) + text(client)]) + array([operation])

    body = array([entry(client, value) for client, value in wanted.items()]) + b"\0"
    answer = await call(address, _ALTER_QUOTAS, 0, body, _CALL_S)
    answer.take("i")
    for _ in answer.count():
        _told(f"the quota {key}", answer.take("h"), answer.text())
        for _ in answer.count():
            answer.text(), answer.text()


async def coordinator(address: Address, group: str) -> Address:
    """Who coordinates a group."""
    answer = await call(address, _FIND_COORDINATOR, 1, text(group) + b"\0", _CALL_S)
    answer.take("i")
    _told(f"to tell the coordinator of {group}", answer.take("h"), answer.text())
    answer.take("i")
    return Address(answer.text(), answer.take("i"))


async def describe_group(address: Address, group: str) -> Group:
    """A group, asked of its coordinator."""
    answer = await call(address, _DESCRIBE_GROUPS, 0, array([text(group)]), _CALL_S)
    answer.count()
    _told(f"to tell the group {group}", answer.take("h"))
    answer.text()
    state, _, assignor = answer.text(), answer.text(), answer.text()
    members = []
    for _ in answer.count():
        members.append(Member(answer.text(), answer.text()))
        answer.text(), answer.blob(), answer.blob()
    return Group(state, assignor, tuple(members))


async def remove_members(address: Address, group: str, members: Iterable[str]) -> None:
    """Take members out of a group, at its coordinator. One that has left meanwhile is fine."""
    body = text(group) + array([text(member) + text(None) for member in members])
    answer = await call(address, _LEAVE_GROUP, 3, body, _CALL_S)
    answer.take("i")
    _told(f"to let members leave {group}", answer.take("h"))
    for _ in answer.count():
        member, _, code = answer.text(), answer.text(), answer.take("h")
        if code not in (0, UNKNOWN_MEMBER):
            raise Refused(f"to let {member} leave {group}", code)


async def leader(address: Address, topic: str, partition: int = 0) -> Address:
    """The DIRECT address of the broker that leads a partition. Raises NotReady while there is none."""
    told = await protocol.metadata(address)
    found = told.partitions.get(topic, {}).get(partition)
    if found is None or found.leader not in told.brokers:
        raise NotReady(f"partition {partition} of {topic} has no leader")
    return Address(*told.brokers[found.leader])


@dataclass(frozen=True, slots=True)
class Tried:
    """How the leader took a request that changes nothing: Kafka's error code, and how long the client is to wait."""

    code: int
    throttle_ms: int


async def try_to_write(address: Address, topic: str, size: int, client: str = protocol.CLIENT) -> Tried:
    """Offer a batch of `size` bytes whose checksum is wrong to partition 0: whatever the broker says, it keeps nothing.

    A batch that is too large is refused as TOO_LARGE before its checksum is looked at, any other for its checksum
    (code 0 then). Source: UnifiedLog.analyzeAndValidateRecords. Raises Refused for other errors.
    """
    header = struct.pack(">iBI", 0, 2, 0xBAD0C0DE)  # leader epoch, magic, a checksum that nothing has
    about = struct.pack(">hiqqqhii", 0, 0, 0, 0, -1, -1, -1, 1)
    rest = header + about
    batch = struct.pack(">qi", 0, size - 12) + rest + bytes(max(0, size - 12 - len(rest)))
    partition = struct.pack(">ii", 0, len(batch)) + batch
    body = text(None) + struct.pack(">hi", -1, 1_000) + array([text(topic) + array([partition])])
    answer = await call(address, _PRODUCE, 3, body, _CALL_S, client)
    code = 0
    for _ in answer.count():
        answer.text()
        for _ in answer.count():
            answer.take("i")
            code = answer.take("h")
            answer.take("q"), answer.take("q")
    if code not in (_CORRUPT, TOO_LARGE):
        raise Refused(f"a batch of {size} B on {topic}", code)
    return Tried(code if code == TOO_LARGE else 0, answer.take("i"))


async def try_to_read(address: Address, topic: str, size: int, client: str = protocol.CLIENT) -> Tried:
    """Fetch about `size` bytes from the beginning of partition 0 and forget them; an error is not looked at."""
    partition = struct.pack(">iqi", 0, 0, size)
    wish = struct.pack(">iiiib", -1, 0, 1, size, 0)
    answer = await call(address, _FETCH, 4, wish + array([text(topic) + array([partition])]), _CALL_S, client)
    return Tried(0, answer.take("i"))
