"""All checks of one stack, through its proxies: the way that the pipeline goes."""

from __future__ import annotations

from chaosd.kernel.clock import Clock
from chaosd.stack.stack import Stack
from chaosd.testbed import checks_kafka, checks_postgres, checks_redis
from chaosd.testbed.checks import Check, ask


async def check(stack: Stack, clock: Clock) -> list[Check]:
    """One part after the other, so that none disturbs the times of another. About 30 s when nothing answers."""
    way = stack.endpoints.proxied
    proxied = frozenset(int(proxy.listen.rpartition(":")[2]) for proxy in stack.proxies())
    found = await ask("redis", lambda: checks_redis.check(way.redis, clock), checks_redis.ERRORS)
    found += await ask("postgres", lambda: checks_postgres.check(way.postgres, clock), checks_postgres.ERRORS)
    found += await ask("kafka", lambda: checks_kafka.check(way.kafka, clock, proxied or None), checks_kafka.ERRORS)
    return found
