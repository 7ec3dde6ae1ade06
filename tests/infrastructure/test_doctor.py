"""The quick check of the infrastructure: on a healthy stack everything holds, and what does not is told."""

from __future__ import annotations

import asyncpg

from chaosd.cli.app import run as chaosd_command
from chaosd.cli.doctor import table
from chaosd.kernel.clock import SystemClock
from chaosd.stack.address import Address
from chaosd.testbed import checks_postgres, checks_redis, infrastructure
from chaosd.testbed.checks import ask, within
from chaosd.testbed.checks_host import host

NOWHERE = Address("127.0.0.1", 9)
# How long something takes is a promise about a quiet machine: `chaosd doctor` shows it, a test under load does not.
TIMED = {"command, text mode", "command, bytes mode", "round trip, acks=all", "insert and commit"}


async def test_everything_holds_on_a_healthy_stack(stack):
    found = await infrastructure.check(stack, SystemClock())
    assert [check for check in found if not check.passed and check.name not in TIMED] == []
    assert {check.name for check in found} >= TIMED | {"through JSON and Kafka", "no way around the proxies", "pool"}
    assert {check.area for check in found} == {"redis", "kafka", "postgres", "envelope"}


async def test_parts_that_do_not_answer_are_failed_checks_and_not_errors():
    clock = SystemClock()
    (redis,) = await ask("redis", lambda: checks_redis.check(NOWHERE, clock), checks_redis.ERRORS)
    assert not redis.passed
    assert "stack status" in table([redis])[1]
    assert redis.finding().rule == "infrastructure-redis"


def test_host_is_measured():
    names = {check.name for check in host(SystemClock())}
    assert names == {"platform", "open files", "memory", "free ports", "clock"}


def test_a_mean_over_its_budget_fails_and_shows_the_slowest():
    slow = within("redis", "command", [1.0, 11.0], 5.0, "look")
    assert not slow.passed
    assert slow.measured == "6.00 ms mean, 11.00 ms slowest of 2"
    assert within("redis", "command", [1.0, 2.0], 5.0).passed


def test_name_of_a_testbed_that_is_not_there_is_refused(capsys):
    assert chaosd_command(["doctor", "--name", "absent"]) == 2
    assert "stack up" in capsys.readouterr().err


class FakePool:
    """A pool whose connection is told of its end in the moment of a query: on real parts that comes by chance."""

    def __init__(self) -> None:
        self.answers: list[object] = [7, asyncpg.InternalClientError("another operation is in progress"), 1]

    async def fetchval(self, query: str) -> object:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


async def test_a_connection_that_ends_in_the_moment_of_a_query_is_one_more_attempt(stack):
    check = await checks_postgres._recovery(FakePool(), stack.endpoints.direct.postgres)
    assert check.passed
    assert check.measured == "serves again, attempt 2"
