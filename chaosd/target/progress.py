"""What Kafka says of the target's consumer group."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiokafka.admin import AIOKafkaAdminClient

_REQUEST_TIMEOUT_MS = 2_000


@dataclass(frozen=True, slots=True)
class GroupState:
    """`state` is Kafka's word (Stable, Empty, PreparingRebalance, …; Dead for a group it does not know)."""

    state: str
    members: int

    @property
    def ready(self) -> bool:
        """Whether the group has a member and its partitions are given out."""
        return self.state == "Stable" and self.members > 0


async def group_state(admin: AIOKafkaAdminClient, group: str) -> GroupState:
    """Ask the group's coordinator once. Raises KafkaError, OSError or TimeoutError when it cannot be asked."""
    async with asyncio.timeout(_REQUEST_TIMEOUT_MS / 1000):
        [answer] = await admin.describe_consumer_groups([group])
    [(_, _, state, _, _, members, *_)] = answer.groups
    return GroupState(state, len(members))


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
