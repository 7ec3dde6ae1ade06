"""A process that joins a consumer group and leaves it again and again: `python -m chaosd.faults.storm ORDER.json`.

Its members take their share of the partitions and never read from them. A process of its own, because it must end with
SIGKILL from anywhere: what it leaves in the group is then removed by its client id, or ends with its session.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from chaosd.process.spawn import PART, Recipe

if TYPE_CHECKING:
    from aiokafka.coordinator.assignors.abstract import AbstractPartitionAssignor

# The least that a broker takes by default. It is how long a member that nobody removes would stay.
_SESSION_MS = 6_000
_HEARTBEAT_MS = 200
_START_S = 10.0
_STOP_S = 5.0
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV")


@dataclass(frozen=True, slots=True)
class Order:
    """What to do. `client` is the members' client id, `assignor` the name of the protocol that the group speaks."""

    bootstrap: str
    group: str
    topic: str
    assignor: str
    client: str
    members: int
    every_s: float


def recipe(order: Order, *, part: str, log: str) -> Recipe:
    """How to start it; `part` marks the process."""
    env = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    argv = (sys.executable, "-m", "chaosd.faults.storm", json.dumps(asdict(order)))
    return Recipe(argv=argv, env={**env, PART: part}, cwd=os.sep, log=log)


def _named(assignor: str) -> type[AbstractPartitionAssignor]:
    """Shares out in turn, under whichever name: it is asked only where no other member is there to lead."""
    from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor  # noqa: PLC0415

    return type("Named", (RoundRobinPartitionAssignor,), {"name": assignor})


async def _in_and_out(order: Order, number: int) -> None:
    # Here and not with the module: who only starts or ends this process (`chaosd heal`) has no use for the client.
    from aiokafka import AIOKafkaConsumer  # noqa: PLC0415
    from aiokafka.errors import KafkaError  # noqa: PLC0415

    failures = (KafkaError, OSError, TimeoutError, AssertionError)
    await asyncio.sleep(order.every_s * number / order.members)
    while True:
        member = AIOKafkaConsumer(
            order.topic,
            bootstrap_servers=order.bootstrap,
            client_id=order.client,
            group_id=order.group,
            enable_auto_commit=False,
            session_timeout_ms=_SESSION_MS,
            heartbeat_interval_ms=_HEARTBEAT_MS,
            partition_assignment_strategy=(_named(order.assignor),),
        )
        try:
            async with asyncio.timeout(_START_S):
                await member.start()
            await asyncio.sleep(order.every_s)
        except failures:
            await asyncio.sleep(order.every_s)
        finally:
            with suppress(*failures):
                async with asyncio.timeout(_STOP_S):
                    await member.stop()
        await asyncio.sleep(order.every_s)


async def _run(order: Order) -> None:
    async with asyncio.TaskGroup() as group:
        for number in range(order.members):
            group.create_task(_in_and_out(order, number), name=f"member {number}")


def main(arguments: list[str]) -> None:
    """Run until killed."""
    asyncio.run(_run(Order(**json.loads(arguments[0]))))


if __name__ == "__main__":
    main(sys.argv[1:])
