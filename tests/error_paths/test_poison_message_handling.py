"""Poison on the real stack: each kind becomes one SYSTEM_ERROR, and nothing behind it waits."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from pipeline_bench import Given, PipelineBench, running, tick

from chaosd.envelope.poison import KINDS, MAX_ENVELOPE_BYTES, spoil


@pytest.fixture(scope="module")
async def bench(stack, tmp_path_factory) -> AsyncIterator[PipelineBench]:
    async with running(stack, tmp_path_factory.mktemp("poison")) as bench:
        yield bench


def poison(kind: str, unique: int = 1) -> Given:
    good = tick("POISON")
    return Given(good.id, good.key, spoil(kind, good.value, unique), (("kind", kind.encode()),))


@pytest.mark.parametrize("kind", KINDS)
async def test_each_kind_of_poison_gives_one_system_error_and_no_output(bench, kind):
    known = len(bench.letters)
    bad, behind = poison(kind), tick("POISON")
    await bench.send([bad, behind])
    await bench.answered([behind])
    await bench.collect(lambda: len(bench.letters) > known, 5, f"the letter of {kind}")
    [letter] = bench.letters[known:]
    said = json.loads(letter.value)
    assert said["type"] == "system_error"
    assert said["data"]["failure_info"]["error_type"] == "poison"
    assert said["data"]["failure_info"]["error_class"]
    assert said["data"]["dlq_metadata"]["original_topic"] == bench.topics["input"]
    assert bad.id not in bench.outputs


async def test_poison_sent_twice_gives_two_letters_with_their_own_coordinates(bench):
    known = len(bench.letters)
    bad = poison("not_json", 2)
    await bench.send([bad, bad])
    await bench.collect(lambda: len(bench.letters) >= known + 2, 5, "two letters")
    origins = [json.loads(letter.value)["data"]["dlq_metadata"]["original_offset"] for letter in bench.letters[known:]]
    assert origins[1] == origins[0] + 1


async def test_a_batch_of_poison_among_good_ticks_stops_nothing(bench):
    known = len(bench.letters)
    good = [tick(f"MIXED-{number % 5}") for number in range(200)]
    bad = [poison(KINDS[number % len(KINDS)], 100 + number) for number in range(60)]
    mixed = [one for pair in zip(good, bad, strict=False) for one in pair] + good[len(bad) :]
    await bench.send(mixed)
    await bench.answered(good)
    await bench.collect(lambda: len(bench.letters) >= known + len(bad), 5, f"{len(bad)} letters")
    assert len(bench.letters) == known + len(bad)
    assert {len(bench.outputs[one.id]) for one in good} == {1}


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"null", id="null"),
        pytest.param(b"[]", id="list"),
        pytest.param(b'"text"', id="text"),
        pytest.param(b"\x00", id="nul"),
        pytest.param(b"[" * 3000, id="deep"),
        pytest.param(b'{"id": 1}', id="number as id"),
        pytest.param(b"\xef\xbb\xbf{}", id="byte order mark"),
        pytest.param(b'{"broker": "\\ud800"}', id="half a surrogate pair"),
        pytest.param(b'{"data": ' + b"[" * 3000 + b"]" * 3000 + b"}", id="deep data"),
    ],
)
async def test_bytes_that_are_no_envelope_at_all_become_a_system_error(bench, value):
    known = len(bench.letters)
    await bench.send([Given(uuid4(), b"junk", value)])
    await bench.collect(lambda: len(bench.letters) > known, 5, "the letter")
    assert json.loads(bench.letters[-1].value)["data"]["original_message"]["value"] is not None


@pytest.mark.parametrize(
    "changes",
    [
        {"price": "NaN"},
        {"price": "-1.00"},
        {"price": 101.5},
        {"price": "1e3"},
        {"volume": -1},
        {"volume": 2**63},
        {"volume": "7"},
        {"symbol": ""},
        {"symbol": "nul\x00inside"},
        {"exchange_ts": "2026-01-02T03:04:05"},
        {"exchange_ts": "yesterday"},
    ],
    ids=str,
)
async def test_data_that_breaks_the_contract_becomes_a_system_error(bench, changes):
    known = len(bench.letters)
    bad, behind = tick("DATA", changes=changes), tick("DATA")
    await bench.send([Given(bad.id, b"DATA", bad.value), behind])
    await bench.answered([behind])
    await bench.collect(lambda: len(bench.letters) > known, 5, "the letter")
    said = json.loads(bench.letters[-1].value)
    assert (said["correlation_id"], said["causation_id"]) == (str(bad.id), str(bad.id))
    assert bad.id not in bench.outputs


async def test_an_envelope_of_exactly_the_limit_is_no_poison(bench):
    good = tick("LIMIT")
    padded = good.value.replace(b'"test"', b'"' + b"x" * (MAX_ENVELOPE_BYTES - len(good.value) + 4) + b'"')
    assert len(padded) == MAX_ENVELOPE_BYTES
    await bench.send([Given(good.id, good.key, padded)])
    await bench.answered([good])
