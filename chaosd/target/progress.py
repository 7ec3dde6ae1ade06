"""What Kafka says of the target's consumer group."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiokafka.admin import AIOKafkaAdminClient

_REQUEST_TIMEOUT_MS = 2_000
_CONSUMERS = "consumer"  # the type of group whose members are told their partitions in Kafka's own form


@dataclass(frozen=True, slots=True)
class GroupState:
    """`state` is Kafka's word (Stable, Empty, PreparingRebalance, …; Dead for a group it does not know).

    `partitions` are those that its members were given, None where they speak of them in a way of their own.
    """

    state: str
    members: int
    partitions: int | None = None

    @property
    def ready(self) -> bool:
        """Whether the group has a member and its partitions are given out."""
        return self._settled and self.partitions != 0

    @property
    def given_nothing(self) -> bool:
        """Whether it has members for whom there is no partition: their client does not know the topics yet."""
        return self._settled and self.partitions == 0

    @property
    def _settled(self) -> bool:
        return self.state == "Stable" and self.members > 0


async def group_state(admin: AIOKafkaAdminClient, group: str) -> GroupState:
    """Ask the group's coordinator once. Raises KafkaError, OSError or TimeoutError when it cannot be asked."""
    async with asyncio.timeout(_REQUEST_TIMEOUT_MS / 1000):
        [answer] = await admin.describe_consumer_groups([group])
    [(_, _, state, kind, _, members, *_)] = answer.groups
    return GroupState(state, len(members), _given(members) if kind == _CONSUMERS else None)


def _given(members: Sequence[Sequence[Any]]) -> int:
    """How many partitions the members were given. A member that joins has been told nothing yet."""
    from aiokafka.coordinator.protocol import ConsumerProtocol  # noqa: PLC0415 - as below

    told = [assignment for _, _, _, _, assignment, *_ in members if assignment]
    return sum(len(ConsumerProtocol.ASSIGNMENT.decode(one).partitions()) for one in told)


async def open_admin(bootstrap: str) -> AIOKafkaAdminClient:
    """An admin client on the DIRECT address; the caller closes it. Raises KafkaError, OSError or TimeoutError."""
    # Not with the module: `chaosd heal` must begin within a second, without it.
    from aiokafka.admin import AIOKafkaAdminClient  # noqa: PLC0415
    from aiokafka.errors import KafkaError  # noqa: PLC0415

    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=_REQUEST_TIMEOUT_MS)
    try:
        async with asyncio.timeout(_REQUEST_TIMEOUT_MS / 1000):
            await admin.start()
    except (KafkaError, OSError, TimeoutError):
        await admin.close()
        raise
    return admin
