"""Generates histories for the two judges: fates of envelopes, faults, commits, stalls, cuts, drawn by hypothesis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from chaosd.experiment.plan import Segment, expand
from chaosd.experiment.spec import Expect, Recovery
from chaosd.journal.columns import ACKS, NO_STREAM, PROGRESS, SENDS, SIGHTINGS, Deviation, Outcome, Role
from chaosd.journal.history import RunHistory
from chaosd.journal.model import BEATS, Deletion, DrainFacts, InjectionFacts, RunFacts, TopicFacts, Unhealthy

SECOND = 1_000_000_000
T0 = 100 * SECOND
STREAMS, PARTITIONS, ENVELOPES = 3, 2, 18
END = T0 + 70 * SECOND
_FLAGS = (0, 0, 0, 0, *(int(flag) for flag in Deviation if flag not in (Deviation.UNIDENTIFIED, Deviation.FOREIGN)))
_STRAY = (Deviation.UNIDENTIFIED, Deviation.FOREIGN, Deviation.UNPLANNED)


def mostly(usual: Any, *others: Any) -> st.SearchStrategy[Any]:
    """The usual value four times as often as each of the others."""
    return st.sampled_from((usual,) * 4 + others)


_result = st.fixed_dictionaries(
    {
        "reads": mostly((0, 1), (0,), (1,), (0, 0, 1)),
        "after_s": mostly(0.1, 2.0, 13.0, 30.0),
        "flags": st.sampled_from(_FLAGS),
        "place": st.integers(0, 40),
        "partition": mostly(None, 0, 1),
        "changed": mostly(False, True),
        "origin": mostly("own", "none", "wrong"),
        "named": mostly(True, False),
    }
)
_fate = st.fixed_dictionaries(
    {
        "send": mostly("acked", "rejected", "unknown", "silent", "none"),
        "logged": mostly(1, 0, 2),
        "input_reads": mostly((0, 1), (1,), (0,)),
        "outputs": mostly(1, 0, 2),
        "letters": mostly(0, 1, 2),
        "like_planned": mostly(True, False),
        "results": st.lists(_result, min_size=4, max_size=4),
    }
)
_fault = st.tuples(st.integers(2, 25), mostly(4, 12, None), mostly((), ("results",)))
STORIES = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 1 << 20),
        "fates": st.lists(_fate, min_size=ENVELOPES, max_size=ENVELOPES),
        "faults": st.lists(_fault, max_size=2),
        "deleted": mostly(None, (6, 9, "output", True), (6, 9, "dlq", True), (7, None, "output", False)),
        "sick": mostly(None, (10, 14)),
        "stall": mostly(None, (20, 26), (8, 9)),
        "unsampled": mostly(None, (15, 22)),
        "stops": st.tuples(mostly(99, 0, 3), mostly(99, 0, 5)),
        "proved": st.tuples(mostly(True, False), mostly(True, False)),
        "drain": mostly(True, False),
        "fresh": mostly(True, False),
        "fifo": mostly(False, True),
        "fence": mostly(True, False),
        "idle_s": mostly(0, 20),
        "ended": mostly(True, False),
        "watermark": mostly(ENVELOPES, 9),
        "samples": mostly(True, False),
        "compacted": mostly(False, True),
        "log_start": mostly(0, 20),
        "strays": st.lists(st.tuples(st.sampled_from(_STRAY), st.integers(0, 2), st.integers(0, 3)), max_size=4),
        "duplicates": st.sampled_from(("none", "allowed_during_faults", "allowed")),
        "order": st.sampled_from(("per_key", "per_key_outside_faults", "any")),
        "errors": st.sampled_from(("exact", "allowed_during_faults")),
        "loss": mostly("none", "not_judged"),
        "circumstance": mostly(None, "torn", "unsealed", "aborted", "tap", "generator", "altered", "poisoned"),
    }
)


@dataclass(frozen=True)
class Told:
    """A story as a History and as its raw rows."""

    history: RunHistory
    rows: dict[str, list[dict[str, int]]]


def tell(story: dict[str, Any]) -> Told:
    """Write the rows down."""
    run = _run(story)
    columns = _rows(story, run)
    return Told(RunHistory(run, columns), {name: _plain(rows) for name, rows in columns.items()})


def _plain(rows: np.ndarray) -> list[dict[str, int]]:
    return [dict(zip(rows.dtype.names, row.tolist(), strict=True)) for row in rows]


def _run(story: dict[str, Any]) -> RunFacts:
    poison = (("not_json", 0.25),)
    segments = [Segment(0, "tail", 0, ENVELOPES - STREAMS, T0, SECOND, STREAMS, poison)]
    phase = "fence" if story["fence"] else "tail"
    segments.append(Segment(1, phase, ENVELOPES - STREAMS, STREAMS, T0 + 15 * SECOND, SECOND, STREAMS))
    what = story["circumstance"]
    torn = {"torn": ("sightings-tap.arrows: cut",), "altered": ("sightings-tap.arrows: differs from the seal",)}
    kinds = ["send_intended", *(["generator_stopped"] if story["ended"] else [])]
    return RunFacts(
        run_id="r", run_tag=1, seed=story["seed"], profile="standard", sealed=what != "unsealed", hash="5eed",
        torn=torn.get(what, ()), missing=(), limit_ns=5 * SECOND, hold_ns=5 * SECOND, started_ns=T0, ended_ns=END,
        expect=Expect(Recovery(), story["loss"], story["duplicates"], story["order"], story["errors"]),
        aborted="Ctrl-C" if what == "aborted" else None, segments=tuple(segments),
        topics=(TopicFacts("in", Role.INPUT, PARTITIONS), TopicFacts("out", Role.OUTPUT, 2, story["compacted"]),
                TopicFacts("dlq", Role.DLQ, 1), TopicFacts("out#2", Role.OUTPUT, 2), TopicFacts("dlq#2", Role.DLQ, 1)),
        deletions=_deletions(story["deleted"]),
        parts=("redis",), processes=("target",), injections=_injections(story["faults"]),
        drain={n: DrainFacts(n, proved, 99, 0) for n, proved in enumerate(story["proved"])} if story["drain"] else None,
        fresh_complete=story["fresh"], fifo=story["fifo"], max_idle_ns=story["idle_s"] * SECOND,
        unhealthy=(Unhealthy("redis", T0 + story["sick"][0] * SECOND, T0 + story["sick"][1] * SECOND, 3),)
        if story["sick"] else (),
        poisoned=what == "poisoned", deaths=(what,) if what in ("tap", "generator") else (),
        facts=tuple({"kind": kind, "t_ns": END, "upto": story["watermark"]} for kind in kinds),
    )  # fmt: skip


def _injections(faults: list[tuple[int, int | None, tuple[str, ...]]]) -> tuple[InjectionFacts, ...]:
    found = []
    for number, (call_s, for_s, voids) in enumerate(faults):
        call = T0 + call_s * SECOND
        clear = -1 if for_s is None else call + for_s * SECOND
        one = InjectionFacts(
            id=f"f{number}", fault="latency", on="redis", params={}, planned_at_ns=call, for_ns=0, bite=(), healed=(),
            voids=voids, call_ns=call, returned_ns=call, clear_low_ns=clear, clear_high_ns=clear,
            state="unhealed" if for_s is None else "healed",
        )  # fmt: skip
        found.append(one)
    return tuple(found)


def _deletions(deleted: tuple[int, int | None, str, bool] | None) -> tuple[Deletion, ...]:
    if deleted is None:
        return ()
    call_s, gone_s, role, clean = deleted
    gone = -1 if gone_s is None else T0 + gone_s * SECOND
    topic = 1 if role == "output" else 2
    return (Deletion("f9", topic, Role[role.upper()], T0 + call_s * SECOND, gone, clean, (3, 3), (4, 4)),)


def _again(story: dict[str, Any], topic: int, due: int) -> int:
    """The topic that a result of `topic` is in: one that was made again, for envelopes of after the deletion."""
    deleted = story["deleted"]
    if deleted is None or Role[deleted[2].upper()] != topic or due < T0 + deleted[0] * SECOND:
        return topic
    return topic + 2


def _rows(story: dict[str, Any], run: RunFacts) -> dict[str, np.ndarray]:
    sends, acks, seen = [], [], []
    tops, out_tops = [0] * PARTITIONS, [0] * 5
    entered: list[list[int]] = [[], []]
    planned = np.concatenate([expand(segment, story["seed"]) for segment in run.segments])
    for row, fate in zip(planned, story["fates"], strict=True):
        who, due, kind = (int(row["stream"]), int(row["seq"])), int(row["due_ns"]), int(row["kind"])
        partition = who[0] % PARTITIONS
        at = (-1, -1)
        for _ in range(fate["logged"]):
            at = (partition, tops[partition])
            tops[partition] += 1
            entered[partition].append(due)
            flags = fate["results"][0]["flags"] if fate["results"][0]["changed"] else 0
            if flags & Deviation.UNPLANNED:
                flags = 0
            record = (0, *at, 5, due, *who, 0, flags, who[1] * 7 + who[0], -1, -1)
            seen += [(*record, final) for final in fate["input_reads"]]
        if fate["send"] != "none":
            sends.append((*who, due, due + 1000, 0, 0))
        outcome = {"acked": Outcome.ACKED, "rejected": Outcome.REJECTED, "unknown": Outcome.INDETERMINATE}
        if fate["send"] in outcome:
            acks.append((*who, outcome[fate["send"]], 0, *at, due + 2000, 0, 0))
        seen += _results(story, fate, who, due, kind, at, out_tops)
    for number, (flag, topic, place) in enumerate(story["strays"]):
        who = (NO_STREAM, 0) if flag is Deviation.UNIDENTIFIED else (1, 60_000)
        for final in (0, 1):
            seen.append((topic, 0, 30 + place, 5, T0, *who, 0, int(flag), 500 + number, -1, -1, final))
    beats = np.zeros(1 if story["stall"] else 0, BEATS)
    if story["stall"]:
        beats["process"], beats["due_ns"], beats["beat_ns"] = 1, *(T0 + s * SECOND for s in story["stall"])
    return {
        "sends": np.array(sends, SENDS.dtype), "acks": np.array(acks, ACKS.dtype),
        "sightings": np.array(seen, SIGHTINGS.dtype), "heartbeats": beats, "progress": _progress(story, entered),
    }  # fmt: skip


def _results(
    story: dict[str, Any],
    fate: dict[str, Any],
    who: tuple[int, int],
    due: int,
    kind: int,
    at: tuple[int, int],
    tops: list[int],
) -> list[tuple[int, ...]]:
    outputs, letters = fate["outputs"], fate["letters"]
    if kind and fate["like_planned"]:
        outputs, letters = letters, outputs
    made = []
    for number, topic in enumerate([1] * outputs + [2] * letters):
        one = fate["results"][number]
        partition = 0 if topic == 2 else who[0] % 2 if one["partition"] is None else one["partition"]
        place = _again(story, topic, due)
        tops[place] += 1
        # Mostly the next place; else one near by, which may be taken: then a place has two contents, or an order turns.
        offset = tops[place] if one["place"] < 30 else 100 - tops[place]
        flags, named, origin = one["flags"], who, (-1, -1)
        if topic == 2:
            origin = {"own": at, "none": (-1, -1), "wrong": (at[0], at[1] - 1)}[one["origin"]]
            if not one["named"]:
                named, flags = (NO_STREAM, 0), int(Deviation.UNIDENTIFIED)
        for turn, final in enumerate(one["reads"]):
            seen_ns = due + round(one["after_s"] * SECOND) + turn
            content = who[1] * 7 + who[0] + 1000 * topic + (final if one["changed"] else 0)
            made.append((place, partition, offset, 5, seen_ns, *named, 0, flags, content, *origin, final))
    return made


def _progress(story: dict[str, Any], entered: list[list[int]]) -> np.ndarray:
    rows = []
    for second in range(60) if story["samples"] else ():
        if story["unsampled"] and story["unsampled"][0] < second < story["unsampled"][1]:
            continue
        t = T0 + second * SECOND
        for partition in range(PARTITIONS):
            past = sum(due + SECOND <= t for due in entered[partition])
            rows.append((t, 0, partition, min(past, story["stops"][partition]), 0, 99, 1))
            rows.append((t, 1, partition, -1, story["log_start"], 99, 1))
    return np.array(rows, PROGRESS.dtype)
