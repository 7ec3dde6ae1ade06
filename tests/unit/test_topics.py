"""A broker may need a moment before it makes topics. It is a fake here: a real one is fenced by chance."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import asdict
from types import SimpleNamespace

import pytest

from chaosd.journal import facts
from chaosd.kernel.errors import StackError
from chaosd.testbed import topics
from chaosd.testbed.record import Topic


@pytest.fixture
def fake_broker(monkeypatch):
    """Answers every call with the next of its codes."""
    codes: list[int] = []

    async def create_topics(wanted):
        code = codes.pop(0)
        return SimpleNamespace(topic_errors=[(topic.name, code, "says the fake broker") for topic in wanted])

    @asynccontextmanager
    async def admin(bootstrap):
        yield SimpleNamespace(create_topics=create_topics)

    monkeypatch.setattr(topics, "admin", admin)
    return codes


async def test_a_broker_that_does_not_count_yet_is_asked_again(fake_broker):
    fake_broker += [38, 7, 0]
    await topics.create("fake:1", [Topic("t", "input", 1)])
    assert fake_broker == []


async def test_a_refusal_is_told_at_once(fake_broker):
    fake_broker += [17, 0]
    with pytest.raises(StackError, match="refused to create topic t: error 17 says the fake broker"):
        await topics.create("fake:1", [Topic("t", "input", 1)])
    assert fake_broker == [0]


def test_a_topic_that_its_broker_compacts_is_known_to_the_reader():
    told = [asdict(Topic("out", "output", 2, ours=False, compacted=True)), asdict(Topic("in", "input", 2))]
    assert [topic.compacted for topic in facts.topics([{"kind": "run_started", "topics": told}])] == [True, False]
