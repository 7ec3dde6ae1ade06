"""The reader against naive dictionaries, and against run directories that are cut, changed or incomplete."""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chaosd.experiment.plan import Segment, expand
from chaosd.journal import history, join
from chaosd.journal.columns import ACKS, HEARTBEATS, NO_STREAM, PROGRESS, SENDS, SIGHTINGS, Deviation, Outcome, Role
from chaosd.journal.facts import injections
from chaosd.journal.model import InjectionFacts, TopicFacts
from chaosd.journal.stream import Columns
from chaosd.journal.write import Facts, seal
from chaosd.kernel.clock import SECOND
from chaosd.kernel.errors import UsageError

TOPICS = (TopicFacts("in", Role.INPUT, 2), TopicFacts("out", Role.OUTPUT, 2), TopicFacts("dlq", Role.DLQ, 1))
STREAMS, SEED = 3, 11


class Ticks:
    """A clock that counts."""

    def __init__(self) -> None:
        self.t = 1000

    def now_ns(self) -> int:
        self.t += 1
        return self.t

    def wall_ns(self) -> int:
        return self.t


def _segments(*counts: int) -> tuple[Segment, ...]:
    found, first = [], 0
    for index, count in enumerate(counts):
        found.append(Segment(index, "baseline", first, count, 10_000 + first * 10, 10, STREAMS, (("not_json", 0.2),)))
        first += count
    return tuple(found)


def _sighting(
    topic: int, partition: int, offset: int, stream: int, seq: int, seen: int, final: int = 0, **more: int
) -> tuple:
    return (
        topic, partition, offset, 5, seen, stream, seq, 0, more.get("deviation", 0), 99,
        more.get("origin_partition", -1), more.get("origin_offset", -1), final,
    )  # fmt: skip


def _story(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Random sends, acks and sightings of 60 planned envelopes, with repeats, losses, strays and dead letters."""
    chance = random.Random(seed)
    sends, acks, seen = [], [], []
    offsets: dict[tuple[int, int], int] = defaultdict(int)

    def place(topic: int, partition: int) -> int:
        offsets[topic, partition] += 1
        return offsets[topic, partition]

    for k in range(50):
        stream, seq = k % STREAMS, k // STREAMS
        sends.append((stream, seq, 0, 20_000 + k, 0, 0))
        outcome = chance.choice([0, 0, 0, 1, 2])
        in_log = outcome == 0 or (outcome == 2 and chance.random() < 0.5)
        offset = place(0, stream % 2) if in_log else -1
        if outcome != 2 or chance.random() < 0.5:
            acks.append((stream, seq, outcome, 0, stream % 2, offset if outcome == 0 else -1, 21_000 + k, 0, 0))
        if not in_log:
            continue
        seen.extend(_sighting(0, stream % 2, offset, stream, seq, 22_000, final) for final in (0, 1))
        for _ in range(chance.choice([0, 1, 1, 1, 2])):
            where = place(1, stream % 2)
            reads = [final for final in (0, 1) if chance.random() < 0.9]
            at = 30_000 + chance.randrange(1000)
            seen.extend(_sighting(1, stream % 2, where, stream, seq, at + final, final) for final in reads)
        if chance.random() < 0.3:
            where, nameless = place(2, 0), chance.random() < 0.5
            who = (NO_STREAM, 0) if nameless else (stream, seq)
            origin = {"origin_partition": stream % 2, "origin_offset": offset}
            seen.extend(_sighting(2, 0, where, *who, 31_000 + where, final, **origin) for final in (0, 1))
    seen.append(_sighting(1, 0, place(1, 0), 0, 0, 1, 0, deviation=int(Deviation.FOREIGN)))
    seen.append(_sighting(1, 0, place(1, 0), 2, 60_000, 1, 0, deviation=int(Deviation.UNPLANNED)))
    seen.append(_sighting(2, 0, place(2, 0), NO_STREAM, 0, 1, 0, origin_partition=1, origin_offset=7_777))
    # A live read that was repeated after an outage.
    seen.extend(chance.sample(seen, 10))
    chance.shuffle(seen)
    return np.array(sends, SENDS.dtype), np.array(acks, ACKS.dtype), np.array(seen, SIGHTINGS.dtype)


def _naive(acks: np.ndarray, seen: np.ndarray) -> dict[tuple[int, int], dict[str, int]]:
    """What the join must say, by dictionaries and loops."""
    inputs = {
        (int(row["partition"]), int(row["offset"])): (int(row["stream"]), int(row["seq"]))
        for row in seen
        if row["topic"] == 0
    }
    found: dict[tuple[int, int], dict[str, int]] = {}
    places: dict[tuple[tuple[int, int], str], set[tuple[int, int]]] = defaultdict(set)
    times: dict[tuple[tuple[int, int], str], list[int]] = defaultdict(list)
    for row in seen:
        who = (int(row["stream"]), int(row["seq"]))
        if row["deviation"]:
            continue
        if row["topic"] == 2:
            who = inputs.get((int(row["origin_partition"]), int(row["origin_offset"])), who)
        if who[0] == NO_STREAM:
            continue
        word = ("input", "output", "dlq")[row["topic"]]
        at = (int(row["partition"]), int(row["offset"]))
        for name in (f"n_{word}", f"{'fresh' if row['final'] else 'live'}_{word}"):
            places[who, name].add(at)
        if not row["final"]:
            times[who, word].append(int(row["seen_ns"]))
    acked = {(int(row["stream"]), int(row["seq"])): row for row in acks}
    for k in range(60):
        who = (k % STREAMS, k // STREAMS)
        outcome = int(acked[who]["outcome"]) if who in acked else Outcome.INDETERMINATE if k < 55 else Outcome.NOT_SENT
        log = places[who, "n_input"]
        if log and outcome in (Outcome.INDETERMINATE, Outcome.NOT_SENT):
            outcome = Outcome.ACKED
        found[who] = {
            "outcome": int(outcome),
            "in_offset": min(offset for _, offset in log) if log else -1,
            "sent_ns": 20_000 + k if k < 50 else -1,
            "first_output_ns": min(times[who, "output"], default=-1),
            "last_output_ns": max(times[who, "output"], default=-1),
            "first_dlq_ns": min(times[who, "dlq"], default=-1),
            "committed": int(bool(log) and min(offset for _, offset in log) < 8),
        }
        for name in ("n_input", "n_output", "n_dlq", "live_output", "live_dlq", "fresh_output", "fresh_dlq"):
            found[who][name] = len(places[who, name])
    return found


@pytest.mark.parametrize("seed", range(40))
def test_the_join_agrees_with_dictionaries(seed: int) -> None:
    sends, acks, seen = _story(seed)
    plan = join.plan(_segments(20, 25, 15), SEED)
    join.sends(plan, sends, acks, (), watermark=55, complete=False)
    joined = join.sightings(plan, seen, TOPICS)
    join.results(plan, joined, TOPICS)
    join.input_log(plan, joined, TOPICS, read_whole=True)
    join.commits(plan, {0: 8, 1: 8})
    naive = _naive(acks, seen)
    assert len(plan.envelopes) == 60
    for row in plan.envelopes:
        who = (int(row["stream"]), int(row["seq"]))
        assert {name: int(row[name]) for name in naive[who]} == naive[who], who
    assert (np.diff(plan.envelopes["stream"].astype(np.int64) * 1000 + plan.envelopes["seq"]) > 0).all()
    own = joined[joined["row"] >= 0]
    assert (plan.envelopes["stream"][own["row"]] == own["stream"]).all()
    assert (plan.envelopes["seq"][own["row"]] == own["seq"]).all()
    assert (joined["row"] < 0).sum() >= 3
    place = [tuple(row) for row in joined.rows()[["topic", "partition", "offset", "final"]].tolist()]
    assert place == sorted(place)


@pytest.mark.parametrize("coordinates", [Deviation.NONE, Deviation.COORDINATES])
def test_the_coordinates_of_a_dead_letter_are_stronger_than_the_identity_it_carries(coordinates: Deviation) -> None:
    """Live, its input may not have been read yet: then only the join can tell, and both reads agree on whose it is."""
    plan = join.plan(_segments(6), SEED)
    letter = {"origin_partition": 0, "origin_offset": 4, "deviation": int(coordinates)}
    seen = np.array([_sighting(0, 0, 4, 1, 0, 10), _sighting(2, 0, 0, 2, 0, 20, **letter)], SIGHTINGS.dtype)
    found = join.sightings(plan, seen, TOPICS)[-1]
    # Coordinates that are known to be wrong lead nowhere.
    assert (int(found["stream"]), int(found["seq"])) == ((1, 0) if not coordinates else (2, 0))
    assert found["row"] == plan.rows(found["stream"].reshape(1), found["seq"].reshape(1))[0]
    assert bool(found["deviation"] & Deviation.COORDINATES)


def test_an_envelope_that_is_in_the_input_log_twice_is_known_to_be() -> None:
    plan = join.plan(_segments(6), SEED)
    rows = [_sighting(0, 0, offset, 1, 0, 10, final) for offset in (4, 9) for final in (0, 1)]
    joined = join.sightings(plan, np.array(rows, SIGHTINGS.dtype), TOPICS)
    join.input_log(plan, joined, TOPICS, read_whole=True)
    mine = plan.envelopes[(plan.envelopes["stream"] == 1) & (plan.envelopes["seq"] == 0)]
    assert (mine["n_input"][0], mine["in_offset"][0]) == (2, 4)


def test_the_plan_is_the_same_however_it_was_cut() -> None:
    whole, cut = join.plan(_segments(60), SEED), join.plan(_segments(20, 25, 15), SEED)
    for name in ("stream", "seq", "k", "kind", "due_ns"):
        assert (whole.envelopes[name] == cut.envelopes[name]).all()
    assert (whole.envelopes["kind"] > 0).any()
    assert (expand(_segments(60)[0], SEED)["kind"] > 0).sum() == (whole.envelopes["kind"] > 0).sum()


def _write_start(conductor: Facts) -> None:
    topics = [{"name": t.name, "role": t.role.name.lower(), "partitions": t.partitions} for t in TOPICS]
    run = {"run_id": "r1", "run_tag": 5, "seed": SEED, "profile": "quick", "parts": ["redis"], "processes": ["redis"]}
    limits = {"expect": {}, "limit_ns": 5 * SECOND, "hold_ns": SECOND, "target": {"name": "t", "fifo": True}}
    conductor.append("run_started", topics=topics, **run, **limits)
    for segment in _segments(20, 25, 15):
        conductor.append("segment", **asdict(segment))


def _write_faults(conductor: Facts, watchdog: Facts) -> None:
    """a: healed by the conductor, b: by the watchdog after the conductor's death, c: failed, d: never tried."""
    proof = {"source": "canary.outcome", "on": "redis", "relation": "one_of", "words": ["timeout"]}
    plan = {"fault": "down", "on": "redis", "params": {}, "at_ns": 5, "for_ns": 6, "bite": [proof], "healed": []}
    for name in ("a", "b", "c", "d"):
        conductor.append("fault_planned", id=name, **plan, voids=[])
    conductor.append("fault_intended", id="a", lease="l")
    conductor.append("fault_injected", id="a", call_ns=100, returned_ns=110, readback={})
    conductor.append("fault_healed", id="a", clear_low_ns=200, clear_high_ns=210, by="conductor", evidence={})
    conductor.append("fault_intended", id="b", lease="m")
    conductor.append("fault_intended", id="c", lease="n")
    conductor.append("fault_failed", id="c", error="no")
    watchdog.append("conductor_died", t=1)
    undone = {"call_ns": 1, "returned_ns": 2, "clear_low_ns": 300, "clear_high_ns": 310, "ok": True}
    watchdog.append("lease_undone", id="m", injection="b", **undone)


def _told(*facts: dict[str, Any]) -> InjectionFacts:
    """What the facts of one planned injection together say of it."""
    plan = {"kind": "fault_planned", "t_ns": 1, "id": "a", "bite": [_PROOF, _PROOF]}
    (told,) = injections([plan, *facts])
    return told


_PROOF = {"source": "canary.outcome", "on": "redis", "relation": "one_of", "words": ["timeout"]}
_INJECTED = {"kind": "fault_injected", "t_ns": 11, "id": "a", "call_ns": 10, "returned_ns": 11}
_HEALED = {"kind": "fault_healed", "t_ns": 90, "id": "a", "clear_low_ns": 88, "clear_high_ns": 89, "by": "conductor"}


def test_what_the_watchdog_undid_is_gone_since_then_whoever_undoes_it_again() -> None:
    undone = {"kind": "lease_undone", "t_ns": 42, "id": "l", "injection": "a", "ok": True}
    undone |= {"clear_low_ns": 40, "clear_high_ns": 41, "process": "watchdog"}
    told = _told(_INJECTED, undone, _HEALED)
    assert (told.clear_low_ns, told.clear_high_ns, told.healed_by) == (40, 41, "watchdog")
    # An undo that came before the injection was in force mended nothing.
    told = _told({**undone, "t_ns": 9, "clear_low_ns": 8, "clear_high_ns": 9}, _INJECTED, _HEALED)
    assert (told.clear_low_ns, told.healed_by, told.state) == (88, "conductor", "healed")
    told = _told(_INJECTED, {**undone, "ok": False}, _HEALED)
    assert (told.clear_low_ns, told.state) == (88, "healed")


def test_a_proof_that_cannot_be_read_is_not_left_out_of_the_promise() -> None:
    later = {"kind": "fault_planned", "t_ns": 1, "id": "a", "bite": [_PROOF, {**_PROOF, "source": "later.kind"}]}
    assert injections([later])[0].bite == ()
    assert len(_told().bite) == 2


def _write_rows(folder: Path) -> None:
    sends, acks, seen = _story(3)
    for schema, rows, process in ((SENDS, sends, "generator"), (ACKS, acks, "generator"), (SIGHTINGS, seen, "tap")):
        columns = Columns(folder, process, schema)
        for part in np.array_split(rows, 4):
            columns.append(part)
            columns.flush()
        columns.close()
    beats = Columns(folder, "tap", HEARTBEATS)
    beats.append((10, 30))
    beats.close()
    Columns(folder, "tap", PROGRESS).close()


def _write_run(folder: Path, *, sealed: bool = True) -> Path:
    clock = Ticks()
    names = ("conductor", "generator", "tap", "watchdog")
    conductor, generator, tap, watchdog = (Facts(folder, name, clock) for name in names)
    _write_start(conductor)
    _write_faults(conductor, watchdog)
    _write_rows(folder)
    generator.append("send_intended", stream=-1, upto=55)
    tap.append("tap_started", starts={})
    proved = {"partition": 0, "proved": True, "input_end": 9, "committed": 9, "why": ""}
    conductor.append("drain", limit_ns=1, started_ns=1, ended_ns=2, partitions=[proved])
    conductor.append("fresh_read", complete=True, ends={"in": [1, 2]}, starts={"in": [0, 0]})
    conductor.append("run_ended", reason="complete")
    for facts in (generator, tap, watchdog):
        facts.close()
    if sealed:
        seal(folder, clock, conductor)
    conductor.close()
    return folder


def test_a_sealed_run_is_read_back_whole(tmp_path: Path) -> None:
    run = history.load(_write_run(tmp_path)).run
    assert (run.sealed, run.torn, run.missing) == (True, (), ())
    assert (run.run_id, run.seed, run.run_tag, run.fifo, run.fresh_complete) == ("r1", SEED, 5, True, True)
    assert [segment.count for segment in run.segments] == [20, 25, 15]
    assert run.topics == TOPICS
    assert run.drain is not None
    assert run.drain[0].proved
    assert run.ended_ns is not None
    assert run.deaths == ("conductor",)
    states = {
        injection.id: (injection.state, injection.clear_high_ns, injection.healed_by) for injection in run.injections
    }
    assert states == {
        "a": ("healed", 210, "conductor"),
        "b": ("healed", 310, "watchdog"),
        "c": ("failed", -1, ""),
        "d": ("planned", -1, ""),
    }
    assert run.injections[0].bite[0].words == ("timeout",)
    assert run.injections[1].call_ns > 0


def test_the_history_is_the_same_in_every_reading_and_in_a_copy(tmp_path: Path) -> None:
    one, two = (history.load(_write_run(_made(tmp_path / name))) for name in ("a", "b"))
    assert one.run.hash == two.run.hash
    (first,), (second,) = one.partitions(), two.partitions()
    assert (np.asarray(first.envelopes) == np.asarray(second.envelopes)).all()
    assert (np.asarray(first.sightings) == np.asarray(second.sightings)).all()
    assert one.column("heartbeats")["process"].tolist() == [1]
    assert len(one.column("canaries")) == 0


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_partitions_hold_every_row_once_and_keep_envelopes_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = history.load(_write_run(tmp_path))
    (all_of_it,) = whole.partitions()
    monkeypatch.setattr(history, "PARTITION_ROWS", 50)
    parts = list(history.load(tmp_path).partitions())
    assert len(parts) == STREAMS
    assert (np.concatenate([part.envelopes for part in parts]) == all_of_it.envelopes).all()
    assert sum(len(part.sightings) for part in parts) == len(all_of_it.sightings)
    assert sum(len(part.stray) for part in parts) == len(all_of_it.stray) > 0
    for part in parts:
        own = part.sightings[part.sightings["row"] >= 0]
        assert (part.envelopes["seq"][own["row"]] == own["seq"]).all()
        assert (part.envelopes["stream"][own["row"]] == own["stream"]).all()


def test_what_is_appended_after_the_seal_does_not_change_the_judgement(tmp_path: Path) -> None:
    before = history.load(_write_run(tmp_path)).run
    watchdog = Facts(tmp_path, "watchdog", Ticks())
    watchdog.append("torn_down")
    watchdog.close()
    after = history.load(tmp_path).run
    assert (after.hash, after.facts, after.torn) == (before.hash, before.facts, ())


def test_a_changed_file_is_reported_and_changes_the_hash(tmp_path: Path) -> None:
    before = history.load(_write_run(tmp_path)).run
    path = tmp_path / "acks-generator.arrows"
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    after = history.load(tmp_path).run
    assert after.torn == ("acks-generator.arrows: differs from the seal",)
    assert after.hash != before.hash


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    _write_run(tmp_path)
    (tmp_path / "sightings-tap.arrows").unlink()
    found = history.load(tmp_path)
    assert found.run.missing == ("sightings-tap.arrows",)
    (part,) = found.partitions()
    assert len(part.sightings) == 0
    assert len(part.envelopes) == 60


@pytest.mark.parametrize(
    "name", ["facts-conductor.jsonl", "facts-generator.jsonl", "sightings-tap.arrows", "acks-generator.arrows"]
)
def test_an_unsealed_run_cut_anywhere_is_read_as_far_as_it_goes(tmp_path: Path, name: str) -> None:
    _write_run(tmp_path, sealed=False)
    whole = history.load(tmp_path)
    assert not whole.run.sealed
    assert whole.run.torn == ()
    data = (tmp_path / name).read_bytes()
    hashes = {whole.run.hash}
    for length in range(0, len(data), 97):
        (tmp_path / name).write_bytes(data[:length])
        found = history.load(tmp_path)
        (part,) = found.partitions()
        assert len(part.envelopes) in (0, 20, 45, 60)
        assert len(found.run.torn) <= 1
        assert all(text.startswith(name) for text in found.run.torn)
        hashes.add(found.run.hash)
    assert len(hashes) > 1


def test_a_folder_that_is_no_run_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a run directory"):
        history.load(tmp_path)
