"""Whole runs on the real stack: the judge says PASS where it is earned, FAIL with the story, and is not fooled.

All runs share one kept testbed; the first is a control, and what it leaves is judged again in many ways.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from live_run import LiveRun, facts
from real_place import FULL_RATE_HZ, LOW_RATE_HZ, Place, Ran, opened

from chaosd.process import spawn
from chaosd.testbed.testbed import Testbed
from chaosd.verification.plant import CLASSES


@pytest.fixture(scope="module")
async def place(tmp_path_factory) -> AsyncIterator[Place]:
    async with opened(tmp_path_factory.mktemp("real")) as place:
        yield place


@dataclass(frozen=True)
class Control:
    """The run without a fault, and how many records its topics held afterwards by the broker's own word."""

    ran: Ran
    records: dict[str, int]


@pytest.fixture(scope="module")
async def control(place) -> Control:
    ran = await place.run(within="500ms")  # nothing to recover from: only the time after the baseline gets shorter
    return Control(ran, await records(place.testbed))


async def records(testbed: Testbed) -> dict[str, int]:
    """Records in each topic, by its role."""
    client = AIOKafkaConsumer(bootstrap_servers=str(testbed.stack.endpoints.direct.kafka))
    await client.start()
    try:
        found = {}
        for topic in testbed.record.topics:
            ends = await client.end_offsets([TopicPartition(topic.name, number) for number in range(topic.partitions)])
            found[topic.role] = sum(ends.values())
        return found
    finally:
        await client.stop()


async def verify(*folders: Path) -> tuple[int, list[str]]:
    """`chaosd verify`: its exit code and its lines, in which no traceback may be."""
    argv = (sys.executable, "-m", "chaosd", "verify", *map(str, folders))
    log = folders[0].parent / "verify.log"
    ended = await asyncio.to_thread(spawn.run, spawn.Recipe(argv, dict(os.environ), "/", str(log)), 60)
    assert "Traceback" not in ended.output, ended.output
    return ended.code, [line for line in ended.output.splitlines() if line.strip()]


def copy(ran: Ran, folder: Path) -> Path:
    """The journal alone: no verdict, no verifiers, no report."""
    folder.mkdir(parents=True)
    for file in (*ran.folder.glob("*.jsonl"), *ran.folder.glob("*.arrows")):
        shutil.copy(file, folder)
    return folder


def judged(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "verdict.json").read_text())


async def test_a_control_run_passes_with_every_envelope_accounted_for(control):
    ran = control.ran
    assert (ran.word, ran.code, ran.verdict["reasons"]) == ("PASS", 0, [])
    assert all(not count for verifier in ran.verdict["verifiers"] for count in verifier["counts"].values())
    envelopes = ran.verdict["envelopes"]
    assert envelopes["sent"] == envelopes["acked"] > 3000
    assert envelopes["expected_dlq"] > 30
    assert envelopes["expected_output"] + envelopes["expected_dlq"] == envelopes["sent"]
    assert envelopes["seen_output"] == envelopes["expected_output"]
    assert envelopes["seen_dlq"] == envelopes["expected_dlq"]
    broker_says = {"input": envelopes["sent"], "output": envelopes["seen_output"], "dlq": envelopes["seen_dlq"]}
    assert control.records == broker_says


async def test_a_control_run_would_have_noticed_every_class_of_anomaly(control):
    certificate = control.ran.verdict["certificate"]
    assert certificate["planted"] == certificate["noticed"] > 0
    # Nothing was replayed, so nothing is said of replays.
    assert set(certificate["by_class"]) | set(certificate["not_applicable"]) == set(CLASSES) - {"BAD-REPLAY"}
    # No fault: nothing is voided, and there is no time after one in which an envelope could be late. And the run is
    # shorter than a partition must stand still to be called stuck.
    assert set(certificate["not_applicable"]) <= {"SLOW-RECOVERY", "VOIDED", "STUCK", "UNSEEN"}
    assert all(planted == noticed > 0 for planted, noticed in certificate["by_class"].values())


async def test_a_run_is_judged_to_the_same_bytes_again_and_in_another_place(control, tmp_path):
    stored = (control.ran.folder / "verdict.json").read_bytes()
    moved = copy(control.ran, tmp_path / "elsewhere" / "moved")
    for _ in range(2):
        code, lines = await verify(control.ran.folder, moved)
        assert code == 0, lines
        assert "identical to the stored verdict" in lines[0]
        assert (control.ran.folder / "verdict.json").read_bytes() == stored
        assert (moved / "verdict.json").read_bytes() == stored
        assert (moved / "report.html").read_bytes() == (control.ran.folder / "report.html").read_bytes()


async def test_a_journal_that_was_tampered_with_never_passes(control, tmp_path):
    flipped = {}
    for name in ("sends-generator", "acks-generator", "sightings-tap"):
        flipped[name] = copy(control.ran, tmp_path / name)
        file = flipped[name] / f"{name}.arrows"
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    cut = copy(control.ran, tmp_path / "cut")
    os.truncate(cut / "facts-conductor.jsonl", (cut / "facts-conductor.jsonl").stat().st_size * 2 // 3)
    rewritten = copy(control.ran, tmp_path / "rewritten")
    told = (rewritten / "facts-conductor.jsonl").read_text()
    assert '"partitions":4' in told
    (rewritten / "facts-conductor.jsonl").write_text(told.replace('"partitions":4', '"partitions":3', 1))
    blind = copy(control.ran, tmp_path / "blind")
    (blind / "sightings-tap.arrows").unlink()
    code, lines = await verify(*flipped.values(), cut, rewritten, blind)
    assert code == 3, lines
    assert len(lines) == 6
    for name, folder in flipped.items():
        assert judged(folder)["verdict"] == "INCONCLUSIVE"
        assert {f"altered:{name}.arrows", f"torn:{name}.arrows"} & set(judged(folder)["reasons"])
    for folder, reason in ((cut, "torn_facts"), (rewritten, "altered")):
        assert judged(folder)["verdict"] == "INCONCLUSIVE"
        assert f"{reason}:facts-conductor.jsonl" in judged(folder)["reasons"]
    assert judged(blind)["verdict"] == "INCONCLUSIVE"
    assert "missing_file:sightings-tap.arrows" in judged(blind)["reasons"]


async def test_a_killed_broker_is_recovered_from_within_the_limit(control, place):
    ran = await place.run("{at: 0s, fault: kill, on: kafka}", within="5s")
    assert ran.reasons == set()
    fault = ran.fault("1-kill-kafka")
    assert (fault["bite"], fault["healed"], fault["exposed"]) == ("proved", "proved", "proved")
    envelopes = ran.verdict["envelopes"]
    assert envelopes["seen_output"] + envelopes["seen_dlq"] == envelopes["expected_output"] + envelopes["expected_dlq"]
    graded = {verifier["name"]: verifier["verdict"] for verifier in ran.verdict["verifiers"]}
    assert {name for name, word in graded.items() if word != "PASS"} <= {"recovery"}
    # The same processes under the same load: what the pipeline is like without a fault was not measured again.
    reused = facts(ran.first, kind="baseline_reused")
    assert [fact["run_id"] for fact in reused] == [control.ran.verdict["run_id"]]
    if ran.undecided:
        pytest.skip(f"this machine is too busy to measure a recovery: {ran.verdict['reasons']}")
    assert (ran.word, ran.code) == ("PASS", 0)
    [episode] = ran.verdict["recovery"]
    assert episode["verdict"] == "PASS"
    assert 0 <= episode["low_ms"] <= episode["high_ms"] <= episode["limit_ms"] == 5000
    certificate = ran.verdict["certificate"]
    assert certificate["planted"] == certificate["noticed"] > 0


async def test_faults_that_nobody_met_prove_nothing_and_are_named(place):
    """A toxic that somebody took away at once, one below the canaries' noise, and one that the pipeline never met."""

    async def take_away(run: LiveRun) -> None:
        await run.reaches("fault", state="injected", on="redis")
        proxies = place.testbed.stack.toxiproxy
        for name in await proxies.toxics("redis"):
            await proxies.remove_toxic("redis", name)

    ran = await place.run(
        "{at: 0s, for: 1500ms, fault: latency, on: redis, latency: 300ms}",
        "{at: 0s, for: 1500ms, fault: latency, on: kafka, latency: 1ms}",
        "{at: 0s, for: 1500ms, fault: latency, on: postgres, latency: 300ms}",
        target="without_postgres",
        rate_hz=LOW_RATE_HZ,
        profile="quick",
        meanwhile=take_away,
    )
    assert (ran.word, ran.code) == ("INCONCLUSIVE", 3)
    faults = {fault["on"]: fault for fault in ran.verdict["faults"]}
    assert ran.reasons == {
        f"no_bite:{faults['redis']['id']}",
        f"no_bite:{faults['kafka']['id']}",
        f"not_exposed:{faults['postgres']['id']}",
    }
    assert {on: (fault["bite"], fault["exposed"]) for on, fault in faults.items()} == {
        "redis": ("missing", "proved"),
        "kafka": ("missing", "proved"),
        "postgres": ("proved", "missing"),
    }
    assert not ran.verdict["certificate"]["planted"]


async def test_a_pipeline_that_commits_first_is_caught_losing_what_it_had_in_work(place):
    ran = await place.run(
        "{at: 500ms, for: 300ms, fault: kill, on: target}", target="auto_commit", rate_hz=FULL_RATE_HZ
    )
    assert (ran.word, ran.code) == ("FAIL", 1)
    no_loss = next(verifier for verifier in ran.verdict["verifiers"] if verifier["name"] == "no_loss")
    assert "LOST" in no_loss["reasons"]
    assert no_loss["counts"]["LOST"] > 0
    lost = [witness for witness in no_loss["witnesses"] if witness["class"] == "LOST"]
    assert lost
    for witness in lost:
        assert witness["hop"] == "committed past without a result"
        story = [entry["what"] for entry in witness["lifeline"]]
        assert {"due", "sent", "acked", "seen committed past"} <= set(story), story
        assert story.index("sent") < story.index("seen committed past")
