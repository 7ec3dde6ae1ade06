"""`chaosd dlq` on a real DLQ: what lies there is told, and sent back as it was, once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from uuid import UUID

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from pipeline_bench import PARTITIONS, Given, PipelineBench, running, tick

from chaosd.cli import app
from chaosd.envelope.poison import spoil
from chaosd.traffic.replay import HEADER_COUNT, HEADER_FROM


@pytest.fixture(scope="module")
async def bench(stack, tmp_path_factory) -> AsyncIterator[PipelineBench]:
    async with running(stack, tmp_path_factory.mktemp("dlq-tools")) as bench:
        yield bench


@pytest.fixture
def dlq(bench, capsys) -> Callable[..., Awaitable[tuple[int, str]]]:
    """The command as a person calls it, in this process; exit code and everything it printed."""

    async def call(command: str, *arguments: str) -> tuple[int, str]:
        place = ("--bootstrap", bench.direct, "--topic", bench.topics["dlq"])
        # It has a loop of its own.
        code = await asyncio.to_thread(app.run, ["dlq", command, *arguments, *place])
        said = capsys.readouterr()
        return code, said.out + said.err

    return call


async def inputs(bench: PipelineBench, key: bytes, count: int) -> list:
    """The records of this key in the input topic, once there are `count`."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bench.direct, group_id=None)
    await consumer.start()
    try:
        consumer.assign([TopicPartition(bench.topics["input"], number) for number in range(PARTITIONS)])
        await consumer.seek_to_beginning()
        found: list = []
        async with asyncio.timeout(10):
            while len(found) < count:
                batches = await consumer.getmany(timeout_ms=100)
                found += [record for batch in batches.values() for record in batch if record.key == key]
        return found
    finally:
        await consumer.stop()


async def test_poison_goes_back_as_it_was_only_by_force_and_not_for_ever(bench, dlq):
    # No text at all: what the letter carries of it is base64, and only its own topic still has the bytes.
    value = spoil("wrong_encoding", tick("BACK").value, 5)
    with pytest.raises(UnicodeDecodeError):
        value.decode()
    await bench.send([Given(UUID(int=0), b"BACK", value, (("origin", b"\xff\x00"),))])
    await bench.collect(lambda: len(bench.letters) == 1, 5, "the letter")
    place = f"{bench.letters[0].partition}/{bench.letters[0].offset}"
    code, text = await dlq("list", "--where", "error_type=poison", "--json")
    assert code == 0, text
    [said] = json.loads(text)
    assert (said["letter"], said["dialect"], said["key"]) == (place, "chaosd", "BACK")
    code, text = await dlq("replay", "--where", "key=BACK")
    assert (code, "the same record would fail again" in text) == (2, True), text
    code, text = await dlq("replay", "--where", "key=BACK", "--force", "--dry-run")
    assert (code, "would send" in text) == (0, True), text
    assert len(await inputs(bench, b"BACK", 1)) == 1
    code, text = await dlq("replay", "--where", "key=BACK", "--force")
    assert (code, "1 of 1 letters" in text) == (0, True), text
    first, again = await inputs(bench, b"BACK", 2)
    assert (again.value, again.partition) == (first.value, first.partition) == (value, first.partition)
    marks = ((HEADER_COUNT, b"1"), (HEADER_FROM, f"{bench.topics['dlq']}/{place}".encode()))
    assert again.headers == (*first.headers, *marks)
    await bench.collect(lambda: len(bench.letters) == 2, 5, "the second letter")
    code, text = await dlq("show", f"{bench.letters[1].partition}/{bench.letters[1].offset}")
    assert code == 0, text
    assert json.loads(text)["original"]["headers"][HEADER_COUNT] == "1"


async def test_what_was_only_unlucky_gets_its_one_result(bench, dlq):
    """A letter of another framework about a good record, replayed twice: the pipeline answers once."""
    good = tick("LUCK")
    headers = [("__connect.errors.topic", bench.topics["input"].encode())]
    async with AIOKafkaProducer(bootstrap_servers=bench.direct) as producer:
        await producer.send_and_wait(bench.topics["dlq"], good.value, key=good.key, headers=headers)
    for _ in range(2):
        code, text = await dlq("replay", "--where", "key=LUCK")
        assert (code, "1 of 1 letters" in text) == (0, True), text
    assert len(await inputs(bench, b"LUCK", 2)) == 2
    after = tick("LUCK")
    await bench.send([after])
    await bench.answered([good, after])
    assert len(bench.outputs[good.id]) == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("list", "--where", "eror_type=x"), "did you mean 'error_type'?"),
        (("list", "--dialect", "sprng"), "did you mean 'spring'?"),
        (("show", "0/99999"), "there is no letter 0/99999"),
        (("replay", "--rate", "fast"), "a rate such as 500/s"),
    ],
)
async def test_a_mistake_is_told_with_its_remedy(dlq, arguments, says):
    code, text = await dlq(*arguments)
    assert code == 2
    assert says in text
    assert "Traceback" not in text


def test_servers_of_others_are_left_alone_unless_named(capsys):
    assert app.run(["dlq", "list", "--bootstrap", "kafka.example:9092", "--topic", "x"]) == 2
    assert "--allow-host kafka.example" in capsys.readouterr().err
