"""The run's topics on the DIRECT listener.

`create_topics` of aiokafka never raises on a broker's error: the answer's `topic_errors` are read (0 = made, 36 = it is
there already).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from chaosd.kernel.errors import StackError
from chaosd.testbed.record import Topic

if TYPE_CHECKING:
    from aiokafka.admin import AIOKafkaAdminClient

# A fault makes topics with stack/parts/kafka/topics.py, in Kafka's own words to one broker: its undo belongs to a heal,
# which loads no client library. A testbed has the time, several topics and several brokers to begin with, and asks for
# settings that are in effect, those of the broker included: the client does all of that already.
_EXISTS = 36
# Timed out, no broker that counts, another controller: one that stood still or has just started says so for a moment.
_NOT_YET = (7, 38, 41)
_AGAIN_S = 0.2
_TRIES = 50
_DEADLINE_S = 20.0
_POLICY = "cleanup.policy"
_IN_SYNC = 2  # of three: one may be missing


@asynccontextmanager
async def admin(bootstrap: str) -> AsyncIterator[AIOKafkaAdminClient]:
    """An admin client on the DIRECT listener."""
    # Its library takes a tenth of the second in which `chaosd heal` must begin, and hardly any heal needs it.
    from aiokafka.admin import AIOKafkaAdminClient  # noqa: PLC0415

    client = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=5000)
    await client.start()
    try:
        yield client
    finally:
        await client.close()


async def create(bootstrap: str, topics: Sequence[Topic], copies: int = 1) -> None:
    """Create the topics that are not there, each on `copies` brokers, whose records no compaction takes away.

    With more than one, a record counts as written when two have it. A broker that cannot yet is asked again, for ten
    seconds. Raises StackError when the broker refuses a topic, or does not answer.
    """
    from aiokafka.admin import NewTopic  # noqa: PLC0415
    from aiokafka.errors import KafkaError  # noqa: PLC0415

    configs = {_POLICY: "delete"} | ({"min.insync.replicas": str(_IN_SYNC)} if copies > 1 else {})
    wanted = [NewTopic(topic.name, topic.partitions, copies, topic_configs=configs) for topic in topics]
    try:
        async with asyncio.timeout(_DEADLINE_S), admin(bootstrap) as client:
            answer, tries = await client.create_topics(wanted), 1
            while tries < _TRIES and any(code in _NOT_YET for _, code, *_ in answer.topic_errors):
                await asyncio.sleep(_AGAIN_S)
                answer, tries = await client.create_topics(wanted), tries + 1
    except (KafkaError, OSError) as error:
        why = f"{type(error).__name__} {error}".rstrip()
        raise StackError(f"Kafka on {bootstrap} does not create topics: {why}", remedy="chaosd stack status") from error
    for name, code, *why in answer.topic_errors:
        if code not in (0, _EXISTS):
            raise StackError(f"Kafka refused to create topic {name}: error {code} {' '.join(map(str, why))}".rstrip())


async def existing(bootstrap: str, names: Sequence[str]) -> set[str]:
    """Which of the topics are there. Raises StackError when the broker does not answer."""
    from aiokafka.errors import KafkaError  # noqa: PLC0415

    try:
        async with asyncio.timeout(_DEADLINE_S), admin(bootstrap) as client:
            return set(names) & set(await client.list_topics())
    except (KafkaError, OSError) as error:
        why = f"{type(error).__name__} {error}".rstrip()
        raise StackError(f"Kafka on {bootstrap} does not tell its topics: {why}") from error


async def compacted(bootstrap: str, names: Sequence[str]) -> set[str]:
    """Which of the topics the broker compacts, or does not say that it does not (we may not be allowed to ask).

    Raises StackError when it does not answer.
    """
    from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType  # noqa: PLC0415
    from aiokafka.errors import KafkaError  # noqa: PLC0415

    asked = [ConfigResource(ConfigResourceType.TOPIC, name, configs={_POLICY: None}) for name in names]
    try:
        async with asyncio.timeout(_DEADLINE_S), admin(bootstrap) as client:
            answers = await client.describe_configs(asked) if asked else []
    except (KafkaError, OSError) as error:
        why = f"{type(error).__name__} {error}".rstrip()
        raise StackError(f"Kafka on {bootstrap} does not tell about topics: {why}") from error
    # (error code, its words, kind of resource, name, entries), and each entry begins with its name and value.
    told = [resource for answer in answers for resource in answer.resources]
    kept = {name for code, _, _, name, entries in told if not code and (_POLICY, "delete") in _values(entries)}
    return set(names) - kept


def _values(entries: Sequence[Sequence[str]]) -> set[tuple[str, str]]:
    return {(name, value) for name, value, *_ in entries}


async def check_partitions(bootstrap: str, topics: Sequence[Topic]) -> None:
    """Raises StackError when a topic that is there has another number of partitions than the target file says."""
    from aiokafka.errors import KafkaError  # noqa: PLC0415

    try:
        async with asyncio.timeout(_DEADLINE_S), admin(bootstrap) as client:
            described = await client.describe_topics([topic.name for topic in topics]) if topics else []
    except (KafkaError, OSError) as error:
        why = f"{type(error).__name__} {error}".rstrip()
        raise StackError(f"Kafka on {bootstrap} does not tell about topics: {why}") from error
    found = {str(one["topic"]): len(one["partitions"]) for one in described}
    for topic in topics:
        if found.get(topic.name) != topic.partitions:
            raise StackError(
                f"the topic {topic.name} has {found.get(topic.name)} partitions, not {topic.partitions}",
                remedy="say in the target file how many it has",
            )


async def delete(bootstrap: str, names: Sequence[str]) -> None:
    """Delete topics; an absent one is no error. Raises StackError when the broker does not answer."""
    from aiokafka.errors import KafkaError  # noqa: PLC0415

    try:
        async with asyncio.timeout(_DEADLINE_S), admin(bootstrap) as client:
            await client.delete_topics(list(names))
    except (KafkaError, OSError) as error:
        why = f"{type(error).__name__} {error}".rstrip()
        raise StackError(f"Kafka on {bootstrap} does not delete topics: {why}", remedy="chaosd stack status") from error
