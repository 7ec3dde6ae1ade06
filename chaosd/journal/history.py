"""Reads a run directory back as a History: facts merged, torn tails cut, rows joined and cut into partitions.

The reader trusts nothing but whole lines and whole batches, and never raises because something is cut or missing: what
is wrong is named in `RunFacts.torn` and `RunFacts.missing`, and the judge says what it voids.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from chaosd.experiment.spec import Expect
from chaosd.journal import facts as said
from chaosd.journal import inputs, join, kinds
from chaosd.journal.columns import SCHEMAS, Role
from chaosd.journal.model import BEATING, BEATS, DIFFERS, Partition, RunFacts, TopicFacts
from chaosd.journal.read import Cut, column_files, process_of, read_columns, read_facts, read_plain
from chaosd.journal.table import Table
from chaosd.kernel.errors import UsageError

CONDUCTOR = "facts-conductor.jsonl"
# Without a seal to name them: what a run that carried traffic has.
_EXPECTED = (
    "facts-generator.jsonl",
    "facts-tap.jsonl",
    "sends-generator.arrows",
    "acks-generator.arrows",
    "sightings-tap.arrows",
    "progress-tap.arrows",
)
# Rows of one share: few enough that a fold finds its columns in the processor's caches, and that the certificate, which
# judges only the shares it plants in once more, leaves most of a large history alone.
PARTITION_ROWS = 250_000


@dataclass(frozen=True, slots=True)
class Journal:
    """A run directory as far as it is whole. `sealed` is the last fact of the conductor, or empty."""

    facts: tuple[Mapping[str, Any], ...]
    columns: Mapping[str, np.ndarray]
    sealed: Mapping[str, Any]
    hash: str
    torn: tuple[str, ...]
    missing: tuple[str, ...]


class RunHistory:
    """The History of one run directory (journal.model.History)."""

    def __init__(self, run: RunFacts, columns: Mapping[str, np.ndarray]) -> None:
        self._run = run
        self._columns = columns
        self._shares: tuple[Partition, ...] | None = None

    @property
    def run(self) -> RunFacts:
        """The facts."""
        return self._run

    def column(self, name: str) -> np.ndarray:
        """All rows of one kind; an empty array when there are none. Raises KeyError for a kind that does not exist."""
        if name in self._columns:
            return self._columns[name]
        return np.zeros(0, BEATS if name == "heartbeats" else SCHEMAS[name].dtype)

    def partitions(self) -> Iterator[Partition]:
        """The rows, share by share: consecutive streams with all that was read of them. Strays are in the first."""
        if self._shares is None:
            self._shares = _cut(*_join(self._run, self._columns))
        yield from self._shares


def _cut(plan: join.Plan, joined: Table) -> tuple[Partition, ...]:
    """The shares of a history; `joined` is brought into their order and is theirs then."""
    total = max(len(plan.envelopes), len(joined))
    per_share = -(-plan.streams // min(max(1, -(-total // PARTITION_ROWS)), plan.streams))
    if per_share >= plan.streams:
        return (Partition(plan.envelopes, joined),)
    contested = Table.of(join.contested(joined).rows())
    # Small numbers are sorted without comparing them, and stable: each share stays in the order of the coordinates.
    number = np.where(joined["row"] >= 0, joined["stream"] // per_share, 0).astype(np.uint16)
    order = np.argsort(number, kind="stable")
    for name in joined.dtype.names or ():
        joined[name] = joined[name].take(order)
    firsts = np.arange(0, plan.streams, per_share)
    rows = np.append(np.searchsorted(plan.envelopes["stream"], firsts), len(plan.envelopes))
    records = np.append(np.searchsorted(number[order], np.arange(len(firsts))), len(joined))
    shares = []
    for index in range(len(firsts)):
        share = joined[records[index] : records[index + 1]]
        share["row"] = np.where(share["row"] >= 0, share["row"] - rows[index], -1)
        own = contested if index == 0 else contested[:0]
        shares.append(Partition(plan.envelopes[rows[index] : rows[index + 1]], share, own))
    return tuple(shares)


def load(run_dir: Path) -> RunHistory:
    """Read a run directory. Raises UsageError when it is none; everything else is reported in the facts."""
    if not (run_dir / CONDUCTOR).is_file():
        raise UsageError(
            f"{run_dir} is not a run directory: it has no {CONDUCTOR}",
            remedy="name a folder under runs/, or runs/<run id>",
        )
    journal = read(run_dir)
    return RunHistory(_run_facts(run_dir, journal), journal.columns)


def read(run_dir: Path) -> Journal:
    """Read every file as far as it is whole (and not beyond what was sealed), and check it against the seal."""
    own, cut = read_facts(run_dir / CONDUCTOR)
    seal = next((fact for fact in own if fact["kind"] == "sealed"), {})
    sealed = {str(file["name"]): file for file in seal.get("files", ())}
    limits = {name: int(file["length"]) for name, file in sealed.items() if name != CONDUCTOR}
    if seal:
        own = own[: own.index(seal) + 1]
    per_process, cuts = {"conductor": own}, [cut]
    for path in sorted(run_dir.glob("facts-*.jsonl")):
        if path.name != CONDUCTOR and not (seal and path.name not in sealed):
            per_process[process_of(path.name)], cut = read_facts(path, limits.get(path.name))
            cuts.append(cut)
    columns = {}
    for name in SCHEMAS:
        columns[name], more = _column(run_dir, name, limits if seal else None)
        cuts.extend(more)
    cuts.extend(read_plain(path, limits.get(path.name)) for path in sorted(run_dir.glob("witness-*.jsonl")))
    torn = [str(cut) for cut in cuts if cut.why]
    torn.extend(_differs(run_dir, sealed, cuts, own))
    expected = list(sealed) if seal else list(_EXPECTED)
    missing = tuple(sorted(name for name in expected if not (run_dir / name).is_file()))
    intact = seal and not torn and not missing
    return Journal(
        facts=said.merge(per_process),
        columns=columns,
        sealed=seal,
        hash=_head(run_dir, own) if intact else _prefix_hash(cuts),
        torn=tuple(torn),
        missing=missing,
    )


def _column(run_dir: Path, name: str, limits: Mapping[str, int] | None) -> tuple[np.ndarray, list[Cut]]:
    """All rows of one kind over all processes; heartbeats carry their process."""
    parts, cuts = [], []
    for path in column_files(run_dir, name):
        if limits is not None and path.name not in limits:
            continue  # began after the seal
        rows, cut = read_columns(path, SCHEMAS[name].dtype, limits[path.name] if limits is not None else None)
        cuts.append(cut)
        if name == "heartbeats":
            if (process := process_of(path.name)) not in BEATING:
                continue
            beats = np.zeros(len(rows), BEATS)
            beats["process"] = BEATING.index(process)
            beats["due_ns"], beats["beat_ns"] = rows["due_ns"], rows["beat_ns"]
            rows = beats
        parts.append(rows)
    empty = np.zeros(0, BEATS if name == "heartbeats" else SCHEMAS[name].dtype)
    return (np.concatenate(parts) if parts else empty), cuts


def _differs(run_dir: Path, sealed: Mapping[str, Any], cuts: list[Cut], own: list[dict[str, Any]]) -> list[str]:
    """What is not as it was sealed."""
    found = {cut.name: cut for cut in cuts if cut.name != CONDUCTOR}
    different = []
    for name, file in sealed.items():
        if name == CONDUCTOR or not (run_dir / name).is_file():
            continue  # the conductor's own lines are held by the chain, a missing file is reported as missing
        cut = found.get(name) or read_plain(run_dir / name, int(file["length"]))
        if not cut.why and (cut.length, cut.sha256) != (int(file["length"]), file["sha256"]):
            different.append(f"{name}: {DIFFERS}")
    return different


def _head(run_dir: Path, own: list[dict[str, Any]]) -> str:
    """The hash of the seal's line, which holds all chains and all files."""
    lines = (run_dir / CONDUCTOR).read_bytes().split(b"\n", len(own))
    return hashlib.sha256(lines[len(own) - 1]).hexdigest()


def _prefix_hash(cuts: list[Cut]) -> str:
    digest = hashlib.sha256()
    for cut in sorted(cuts, key=lambda cut: cut.name):
        digest.update(f"{cut.name} {cut.length} {cut.sha256}\n".encode())
    return digest.hexdigest()


def _run_facts(run_dir: Path, journal: Journal) -> RunFacts:
    facts = journal.facts
    started, ended = said.first(facts, "run_started"), said.first(facts, "run_ended")
    fresh, aborted = said.first(facts, "fresh_read"), said.first(facts, "aborted")
    expect = Expect.from_json(started.get("expect", {}))
    topics, injections = said.topics(facts), said.injections(facts)
    return RunFacts(
        run_id=str(started.get("run_id", run_dir.name)),
        run_tag=int(started.get("run_tag", 0)),
        seed=int(started.get("seed", 0)),
        profile=str(started.get("profile", "")),
        sealed=bool(journal.sealed),
        hash=journal.hash,
        torn=journal.torn,
        missing=journal.missing,
        expect=expect,
        limit_ns=int(started.get("limit_ns", expect.recovery.within_ns)),
        hold_ns=int(started.get("hold_ns", 0)),
        started_ns=int(started.get("t_ns", facts[0]["t_ns"] if facts else 0)),
        ended_ns=int(ended["t_ns"]) if ended else None,
        aborted=str(aborted.get("reason", "")) if aborted else None,
        segments=said.segments(facts),
        topics=topics,
        parts=tuple(started.get("parts", ())),
        processes=tuple(started.get("processes", ())),
        injections=injections,
        deletions=said.deletions(facts, injections, topics),
        gauges=said.gauges(facts),
        drain=said.drain(facts, topics),
        fresh_complete=bool(fresh.get("complete")),
        fresh_ends={name: tuple(ends) for name, ends in fresh["ends"].items()} if fresh.get("ends") else None,
        unhealthy=said.unhealthy(facts),
        poisoned=bool(said.first(facts, "generator_poisoned")),
        deaths=said.deaths(facts),
        fifo=bool(started.get("target", {}).get("fifo")),
        max_idle_ns=int(started.get("target", {}).get("max_idle_ns", 0)),
        results=said.results(started),
        unnamed=said.unnamed(facts),
        replayed=said.replayed(facts, topics),
        baseline_reused=said.first(facts, "baseline_reused") or None,
        facts=facts,
    )


def _join(run: RunFacts, columns: Mapping[str, np.ndarray]) -> tuple[join.Plan, Table]:
    plan = join.plan(run.segments, run.seed)
    in_order = bool(said.first(run.facts, "generator_stopped")) and not any("-generator." in name for name in run.torn)
    join.sends(plan, columns["sends"], columns["acks"], run.topics, said.watermark(run.facts), complete=in_order)
    seen = columns["sightings"]
    if len(seen) and int(seen["topic"].max()) >= len(run.topics):
        # The fact that names a topic was cut off (and is reported as torn): nobody knows what its records are.
        seen = seen[seen["topic"] < len(run.topics)]
    joined = join.sightings(plan, seen, run.topics)
    join.results(plan, joined, run.topics)
    kinds.whole(plan.envelopes, joined, run.topics, run.results)
    join.replayed(plan, joined, run.replayed or ())
    join.input_log(plan, joined, run.topics, read_whole=run.fresh_complete)
    join.commits(plan, _committed(run, columns["progress"], run.topics))
    return plan, joined


def _committed(run: RunFacts, progress: np.ndarray, topics: tuple[TopicFacts, ...]) -> dict[int, int]:
    """The furthest commit of the target's groups by the number of the input partition, as sampled and as the drain saw
    it.
    """
    furthest = {number: facts.committed for number, facts in (run.drain or {}).items()}
    sources = [n for n, topic in enumerate(topics) if topic.role is Role.INPUT]
    own = progress[np.isin(progress["topic"], sources)]
    of = inputs.numbers(own["topic"], own["partition"], topics)
    for number in np.unique(of).tolist():
        seen = int(own["committed"][of == number].max())
        furthest[number] = max(furthest.get(number, -1), seen)
    return {number: position for number, position in furthest.items() if number >= 0}
