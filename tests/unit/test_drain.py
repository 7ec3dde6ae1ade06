"""The drain is proved by what was asked after the last send, and by nothing older."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from chaosd.conductor import drain
from chaosd.kernel.clock import SECOND

SENT_NS = 100 * SECOND
LIMIT_NS = SENT_NS + 30 * SECOND


def state(asked_ns: int, *, committed: int = 7, behind: bool = False) -> dict[str, Any]:
    row = {"partition": 0, "committed": committed, "end": 7, "start": 0}
    return {"asked_ns": asked_ns, "progress": [row], "behind": behind, "last_new_ns": SENT_NS, "max_latency_ms": 5.0}


@pytest.fixture
def settled(monkeypatch):
    """Settle with a tap whose state at each time is given by a function; the clock moves by the steps that it waits."""

    async def settle(tap: Any) -> int | None:
        now = [SENT_NS]

        async def sleep(seconds: float) -> None:
            now[0] += round(seconds * SECOND)
            instruments.tap.last = tap(now[0])

        monkeypatch.setattr(drain.asyncio, "sleep", sleep)
        expect = SimpleNamespace(recovery=SimpleNamespace(within_ns=5 * SECOND))
        clock = SimpleNamespace(now_ns=lambda: now[0])
        context = SimpleNamespace(clock=clock, experiment=SimpleNamespace(expect=expect))
        instruments = SimpleNamespace(tap=SimpleNamespace(last=tap(SENT_NS), alive=True))
        return await drain.settle(context, instruments, SENT_NS, LIMIT_NS)

    return settle


async def test_commits_and_quiet_that_the_tap_looked_at_end_the_wait(settled):
    assert await settled(state) is not None


async def test_commits_of_before_the_last_send_prove_nothing(settled):
    assert await settled(lambda now: state(SENT_NS - 1)) is None


async def test_tap_that_stands_still_is_not_quiet(settled):
    assert await settled(lambda now: state(SENT_NS + SECOND)) is None


async def test_tap_that_has_not_read_everything_is_not_quiet(settled):
    assert await settled(lambda now: state(now, behind=True)) is None


async def test_uncommitted_records_are_not_drained(settled):
    assert await settled(lambda now: state(now, committed=6)) is None


@pytest.mark.parametrize(
    ("ended", "asked_ns", "committed", "quiet", "why"),
    [
        ({"pending": 0}, SENT_NS, 7, True, ""),
        (None, SENT_NS, 7, True, "the generator did not end in order"),
        ({"pending": 3}, SENT_NS, 7, True, "3 sends without an outcome"),
        ({"pending": 0}, SENT_NS - 1, 7, True, "Kafka told no commits"),
        ({"pending": 0}, SENT_NS, 6, True, "committed 6 of 7"),
        ({"pending": 0}, SENT_NS, 7, False, "results still came"),
    ],
)
def test_partition_is_proved_only_when_nothing_speaks_against_it(ended, asked_ns, committed, quiet, why):
    (proof,) = drain.proofs(state(asked_ns, committed=committed), ended, SENT_NS, quiet=quiet)
    assert proof["proved"] is (why == "")
    assert proof["why"].startswith(why)


def test_a_topic_between_services_must_be_read_to_its_end_by_its_group():
    told = {**state(SENT_NS), "inside": [{"topic": "prices", "partition": 1, "committed": 4, "end": 5}]}
    [proof] = drain.proofs(told, {"pending": 0}, SENT_NS, quiet=True)
    assert (proof["proved"], proof["why"]) == (False, "prices/1: committed 4 of 5")
    told["inside"][0]["committed"] = 5
    assert drain.proofs(told, {"pending": 0}, SENT_NS, quiet=True)[0]["proved"]


def test_without_a_group_the_quiet_time_stands_in_the_place_of_commits():
    told = state(SENT_NS, committed=-1)
    assert not drain.proofs(told, {"pending": 0}, SENT_NS, quiet=True)[0]["proved"]
    assert drain.proofs(told, {"pending": 0}, SENT_NS, quiet=True, commits=False)[0]["proved"]
    assert not drain.proofs(told, {"pending": 0}, SENT_NS, quiet=False, commits=False)[0]["proved"]
