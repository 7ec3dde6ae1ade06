"""A second judge, for tests alone: docs/verification.md once more, written down with sets, dictionaries and loops.

It reads the raw rows (sends, acknowledgements, sightings, samples), shares no code with the verifiers or the reader's
join, and takes its time. What it gives is `{class: {who: allowed}}`; `who` is (stream, seq) for classes about envelopes
and (topic, partition, offset) for classes about records. Where a definition leaves the work to the tap (does this field
differ?), the tap's flag is the input.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from itertools import pairwise

from chaosd.experiment.plan import expand
from chaosd.journal.columns import NO_STREAM, Deviation, Outcome, Role
from chaosd.journal.model import RunFacts

FOREVER = 1 << 62
SECOND = 1_000_000_000
RECORDS = {"VANISHED", "PHANTOM", "FOREIGN", "UNIDENTIFIED", "DUP-OFFSET", "CORRUPT", "MISROUTED", "WRONG-ERROR"}
CONTENT = ("UNDECODABLE", "DIGEST", "TYPE", "FIELD", "CORRELATION", "CAUSATION")
LETTER = ("UNDECODABLE", "TYPE", "FIELD", "CORRELATION", "CAUSATION", "ERROR_TYPE", "COORDINATES", "PAYLOAD")

Who = tuple[int, int]


@dataclass
class Record:
    """One sighting."""

    place: tuple[int, int, int]
    role: Role
    who: Who | None
    flags: set[str]
    seen: int
    fresh: bool
    content: int


@dataclass
class Life:
    """One planned envelope and all that is known of it."""

    who: Who
    due: int
    poison: bool
    phase: str
    sent: int | None = None
    outcome: str = "NOT_SENT"
    inputs: set[tuple[int, int, int]] = field(default_factory=set)
    outputs: list[Record] = field(default_factory=list)
    letters: list[Record] = field(default_factory=list)
    acknowledged: bool = False

    @property
    def first_input(self) -> tuple[int, int, int] | None:
        return min(self.inputs, default=None)

    @property
    def start(self) -> int:
        return self.due if self.sent is None else self.sent

    @property
    def came(self) -> bool:
        return bool(self.letters) or (bool(self.outputs) and not self.poison)

    @property
    def resolved_at(self) -> int:
        live = [record.seen for record in self.outputs if not record.fresh] if not self.poison else []
        live = live or [record.seen for record in self.letters if not record.fresh]
        return min(live, default=FOREVER)


class Naive:
    """The account of one run. `lives` by identity, `records` in the order of places."""

    def __init__(self, run: RunFacts, rows: dict[str, list[dict[str, int]]], watermark: int, *, ended: bool) -> None:
        self.run = run
        self.rows = rows
        self.lives: dict[Who, Life] = {}
        for segment in run.segments:
            for row in expand(segment, run.seed):
                who = (int(row["stream"]), int(row["seq"]))
                self.lives[who] = Life(who, int(row["due_ns"]), bool(row["kind"]), segment.phase)
                if not ended and who[1] * segment.streams + who[0] < watermark:
                    self.lives[who].outcome = "INDETERMINATE"
        self._sends()
        self.records = self._records()
        self._settle()

    def _sends(self) -> None:
        for row in self.rows["sends"]:
            life = self.lives.get((row["stream"], row["seq"]))
            if life:
                life.sent, life.outcome = row["sent_ns"], "INDETERMINATE"
        for row in self.rows["acks"]:
            life = self.lives.get((row["stream"], row["seq"]))
            if life:
                life.outcome = Outcome(row["outcome"]).name
                life.acknowledged = life.outcome == "ACKED"

    def _records(self) -> list[Record]:
        inputs: dict[tuple[int, int], Who] = {}
        for row in self.rows["sightings"]:
            who = (row["stream"], row["seq"])
            if self.run.topics[row["topic"]].role is Role.INPUT and who in self.lives and not _strange(row):
                inputs[row["partition"], row["offset"]] = who
        found = []
        for row in self.rows["sightings"]:
            role = self.run.topics[row["topic"]].role
            flags = {flag.name for flag in Deviation if flag and row["deviation"] & flag}
            own = row["stream"] != NO_STREAM and not flags & {"FOREIGN", "UNPLANNED"}
            who = (row["stream"], row["seq"]) if own else None
            if role is Role.DLQ and not flags & {"FOREIGN", "COORDINATES"}:
                at = inputs.get((row["origin_partition"], row["origin_offset"]))
                if at is not None:
                    if who not in (None, at) or (who is None and row["stream"] != NO_STREAM):
                        flags.add("COORDINATES")
                    who = at
            place = (row["topic"], row["partition"], row["offset"])
            found.append(Record(place, role, who, flags, row["seen_ns"], bool(row["final"]), row["content"]))
        return sorted(found, key=lambda record: (record.place, record.fresh))

    def _settle(self) -> None:
        for record in self.records:
            life = self.lives.get(record.who) if record.who else None
            if life is None:
                continue
            if record.role is Role.INPUT:
                life.inputs.add(record.place)
            elif record.role is Role.OUTPUT:
                life.outputs.append(record)
            else:
                life.letters.append(record)
        for life in self.lives.values():
            if life.inputs and life.outcome in ("INDETERMINATE", "NOT_SENT"):
                life.outcome, life.acknowledged = "ACKED", False

    # --- times

    def troubles(self, after: int = 0, *, voids: bool = False) -> list[tuple[int, int]]:
        spans = [
            (one.call_ns, FOREVER if one.clear_high_ns < 0 else one.clear_high_ns + after)
            for one in self.run.injections
            if one.call_ns >= 0 and (not voids or "results" in one.voids)
        ]
        if not voids:
            spans += [(one.from_ns, one.until_ns + after) for one in self.run.unhealthy]
        return spans

    def samples(self, partition: int) -> list[dict[str, int]]:
        mine = [
            row
            for row in self.rows["progress"]
            if self.run.topics[row["topic"]].role is Role.INPUT and row["partition"] == partition
        ]
        return sorted(mine, key=lambda row: row["t_ns"])

    def passed_at(self, life: Life) -> int:
        """When the group was first seen to have committed past its record."""
        if life.first_input is None:
            return FOREVER
        _, partition, offset = life.first_input
        return next((row["t_ns"] for row in self.samples(partition) if row["committed"] > offset), FOREVER)

    def committed(self, life: Life) -> bool:
        if life.first_input is None:
            return False
        _, partition, offset = life.first_input
        told = self.run.drain.get(partition) if self.run.drain else None
        return self.passed_at(life) < FOREVER or (told is not None and told.committed > offset)

    def in_trouble(self, life: Life) -> bool:
        """Under way at some time in [inject, clear + limit]."""
        until = self.passed_at(life)
        if not self.rows["progress"]:
            live = [record.seen for record in life.outputs if not record.fresh]
            until = max([life.resolved_at, *live])
        return _touches(life.start, until, self.troubles(self.run.limit_ns))

    # --- masks

    def drained(self, life: Life) -> bool:
        run = self.run
        if run.drain is None or not run.fresh_complete:
            return False
        if run.fifo:
            fences = [one for one in self.lives.values() if one.phase == "fence"]
            if not fences or any(one.outcome != "ACKED" for one in fences):
                return False
            kept_back = {one.first_input and one.first_input[1] for one in fences if not one.came}
        else:
            kept_back = set()
        if life.first_input is None:
            return bool(run.drain) and all(told.proved for told in run.drain.values()) and not kept_back
        partition = life.first_input[1]
        return partition in run.drain and run.drain[partition].proved and partition not in kept_back

    def voided(self, life: Life) -> bool:
        """Under way, until its result or the limit after it was committed past, while such a fault was in force."""
        until = min(life.resolved_at, self.passed_at(life) + self.run.limit_ns)
        return _touches(life.start, until, [*self.troubles(voids=True), *self._deletions(life)])

    def _deletions(self, life: Life) -> list[tuple[int, int]]:
        """When what went into a topic that its result may be in was deleted without having been looked at."""
        spans = []
        for one in self.run.deletions:
            since = one.call_ns
            for row in self.rows["heartbeats"]:
                blind = (row["due_ns"], row["beat_ns"] + 10_000_000 + (row["beat_ns"] - row["due_ns"]) // 10)
                if blind[0] < one.call_ns and blind[1] >= one.call_ns - self.run.limit_ns:
                    since = min(since, blind[0])
            if one.role is Role.DLQ or not life.poison:
                spans.append((since, FOREVER if one.returned_ns < 0 else one.returned_ns))
        return spans

    # --- classes

    def judge(self) -> dict[str, dict[tuple[int, ...], bool]]:
        """All classes: who shows them, and whether the experiment allows it."""
        found: dict[str, dict[tuple[int, ...], bool]] = defaultdict(dict)
        for life in self.lives.values():
            self._envelope(found, life)
        for record in self.records:
            self._record(found, record)
        self._vanished(found)
        self._overwritten(found)
        self._reordered(found)
        stuck = {life.who for life in self.lives.values() if self._stuck(life)}
        found["STUCK"] = dict.fromkeys(stuck, False)
        for who in stuck:
            found["UNSEEN"].pop(who, None)
        gone = {**found["LOST"], **found["MISSING-ERROR"]}
        unidentified = [place for place in found["UNIDENTIFIED"] if self.run.topics[place[0]].role is not Role.INPUT]
        if gone and len(unidentified) >= len(gone):
            found["UNSEEN"].update(dict.fromkeys(gone, False))
            found["LOST"], found["MISSING-ERROR"] = {}, {}
        return found

    def _envelope(self, found: dict[str, dict[tuple[int, ...], bool]], life: Life) -> None:
        expect, who = self.run.expect, life.who
        if life.outcome == "ACKED" and not life.came:
            if self.voided(life):
                found["VOIDED"][who] = False
            elif not self.drained(life):
                found["UNSEEN"][who] = False
            elif life.poison:
                found["MISSING-ERROR"][who] = False
            else:
                found["LOST"][who] = expect.loss == "not_judged"
        if life.outcome == "REJECTED" and (life.inputs or life.outputs or life.letters):
            found["RESURRECTED"][who] = False
        unknown = life.outcome == "INDETERMINATE" or (life.outcome == "ACKED" and not life.acknowledged)
        if unknown and life.came:
            found["RECOVERED"][who] = False
        for records in (life.outputs, life.letters):
            if len({record.place for record in records}) > 1:
                policy = expect.duplicates
                found["DUP-ID"][who] = policy == "allowed" or (policy != "none" and self.in_trouble(life))
        if life.outputs and life.letters:
            found["DOUBLE-OUTCOME"][who] = False
        if life.letters and not life.poison:
            seen = min((record.seen for record in life.letters if not record.fresh), default=life.start)
            overlaps = _touches(life.start, seen, self.troubles(self.run.limit_ns))
            found["UNEXPECTED-ERROR"][who] = expect.system_errors != "exact" and overlaps

    def _record(self, found: dict[str, dict[tuple[int, ...], bool]], record: Record) -> None:
        flags, place = record.flags, record.place
        life = self.lives.get(record.who) if record.who else None
        if "UNIDENTIFIED" in flags:
            if life is None:
                found["UNIDENTIFIED"][place] = False
        elif "FOREIGN" in flags:
            found["FOREIGN"][place] = True
        elif life is None or "UNPLANNED" in flags or life.outcome == "NOT_SENT":
            found["PHANTOM"][place] = False
        elif record.role is not Role.DLQ and flags.intersection(CONTENT):
            found["CORRUPT"][place] = False
        elif flags & {"KEY", "TOPIC"}:
            found["MISROUTED"][place] = False
        if life is not None and record.role is Role.DLQ:
            judged = set(LETTER) if life.poison else set(LETTER) - {"ERROR_TYPE"}
            if flags & judged:
                found["WRONG-ERROR"][place] = False

    def _vanished(self, found: dict[str, dict[tuple[int, ...], bool]]) -> None:
        if not self.run.fresh_complete:
            return
        results = [r for r in self.records if r.role is not Role.INPUT and r.who in self.lives]
        fresh = {(record.place, record.who) for record in results if record.fresh}
        deleted = {one.topic for one in self.run.deletions}
        for record in results:
            if not record.fresh and record.place[0] not in deleted and (record.place, record.who) not in fresh:
                topic, partition, offset = record.place
                starts = [
                    row["log_start"]
                    for row in self.rows["progress"]
                    if (row["topic"], row["partition"]) == (topic, partition)
                ]
                found["VANISHED"][record.place] = self.run.topics[topic].compacted or max(starts, default=0) > offset

    def _overwritten(self, found: dict[str, dict[tuple[int, ...], bool]]) -> None:
        contents = defaultdict(set)
        for record in self.records:
            contents[record.place].add(record.content)
        found["DUP-OFFSET"] = {place: False for place, told in contents.items() if len(told) > 1}

    def _reordered(self, found: dict[str, dict[tuple[int, ...], bool]]) -> None:
        """An identity whose first output comes after one with a higher input offset."""
        first: dict[Who, tuple[int, int, int]] = {}
        for life in self.lives.values():
            if life.outputs and len(life.inputs) == 1 and not life.letters:
                first[life.who] = min(record.place for record in life.outputs)
        policy = self.run.expect.order
        for who, place in first.items():
            own = self.lives[who].first_input
            for other, before in first.items():
                theirs = self.lives[other].first_input
                same = who[0] == other[0] and place[:2] == before[:2] and own[:2] == theirs[:2]
                if same and before < place and theirs > own:
                    excused = policy == "per_key_outside_faults" and self.in_trouble(self.lives[who])
                    found["REORDERED"][who] = policy == "any" or excused

    def _stuck(self, life: Life) -> bool:
        """Whether its input partition stood still for too long while it was due and unresolved."""
        limit = max(self.run.limit_ns, 10 * SECOND, self.run.max_idle_ns)
        if life.outcome != "ACKED" or life.first_input is None or self.voided(life):
            return False
        if not life.came and (self.drained(life) or self.committed(life)):
            return False
        if life.came and life.resolved_at == FOREVER:
            return False  # only the fresh read has it: it may have come at once
        partition = life.first_input[1]
        samples = self.samples(partition)
        if not samples:
            return False
        signs, best = {row["t_ns"] for row in self._advances(samples)}, -1
        for other in self.lives.values():
            if other.first_input is not None and other.first_input[1] == partition:
                signs.add(other.resolved_at)
        end = min(life.resolved_at, samples[-1]["t_ns"])
        spans = [*self.troubles(), *self._blind()]
        edges = sorted({life.due, end, *signs, *(edge for span in spans for edge in span)})
        since = None
        for a, b in pairwise(edges):
            if a < life.due or b > end or _touches(a + 1, b - 1, spans):
                since = None
                continue
            since = a if since is None or a in signs else since
            best = max(best, b - since)
        return best > limit

    def _advances(self, samples: list[dict[str, int]]) -> list[dict[str, int]]:
        top, found = samples[0]["committed"], []
        for row in samples[1:]:
            if row["committed"] > top:
                top = row["committed"]
                found.append(row)
        return found

    def _blind(self) -> list[tuple[int, int]]:
        """When the tap did not look for two seconds: its stalls with the time to catch up, gaps between samples."""
        spans = [
            (row["due_ns"], row["beat_ns"] + 10_000_000 + (row["beat_ns"] - row["due_ns"]) // 10)
            for row in self.rows["heartbeats"]
        ]
        spans += pairwise(sorted({row["t_ns"] for row in self.rows["progress"]}))
        return [(a, b) for a, b in spans if b - a > 2 * SECOND]


def _strange(row: dict[str, int]) -> bool:
    return bool(row["deviation"] & (Deviation.FOREIGN | Deviation.UNPLANNED))


def _touches(start: int, until: int, spans: list[tuple[int, int]]) -> bool:
    return any(a <= until and start <= b for a, b in spans)
