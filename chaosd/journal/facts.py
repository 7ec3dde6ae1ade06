"""What the facts of all processes together say about a run: RunFacts. Pure; unknown kinds and fields do no harm.

A process that was killed leaves an act announced but not done (`fault_intended` without `fault_injected`): then the
announcement is taken for the act, because the act may have happened.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from chaosd.experiment.plan import Segment
from chaosd.journal.columns import Role
from chaosd.journal.inputs import firsts
from chaosd.journal.model import Deletion, DrainFacts, InjectionFacts, Owed, TopicFacts, Unhealthy
from chaosd.kernel.proof import Proof, Relation, Source

Fact = Mapping[str, Any]


def merge(per_process: Mapping[str, Sequence[Fact]]) -> tuple[dict[str, Any], ...]:
    """All facts in order of time, each with the key `process` added (where the fact has none of its own)."""
    facts = [{"process": process, **fact} for process, lines in sorted(per_process.items()) for fact in lines]
    return tuple(sorted(facts, key=lambda fact: fact["t_ns"]))


def first(facts: Iterable[Fact], kind: str) -> Fact:
    """The first fact of a kind, or an empty one."""
    return next((fact for fact in facts if fact["kind"] == kind), {})


def every(facts: Iterable[Fact], kind: str) -> list[Fact]:
    """All facts of a kind, in order."""
    return [fact for fact in facts if fact["kind"] == kind]


def segments(facts: Sequence[Fact]) -> tuple[Segment, ...]:
    """The planned traffic, in order of its indices; a segment that is not whole is left out."""
    found: dict[int, Segment] = {}
    for fact in every(facts, "segment"):
        try:
            segment = Segment(
                index=int(fact["index"]),
                phase=str(fact["phase"]),
                first=int(fact["first"]),
                count=int(fact["count"]),
                start_ns=int(fact["start_ns"]),
                interval_ns=int(fact["interval_ns"]),
                streams=int(fact["streams"]),
                poison=tuple((str(kind), float(share)) for kind, share in fact.get("poison", ())),
                duplicates=float(fact.get("duplicates", 0.0)),
            )
        except (KeyError, TypeError, ValueError):
            continue
        found.setdefault(segment.index, segment)
    return tuple(found[index] for index in sorted(found))


def topics(facts: Sequence[Fact]) -> tuple[TopicFacts, ...]:
    """The run's topics in the order that rows index. One that was made again is another one, after all of before."""
    found = [
        TopicFacts(
            name=str(topic["name"]),
            role=Role[str(topic["role"]).upper()],
            partitions=int(topic["partitions"]),
            compacted=bool(topic.get("compacted")),
        )
        for topic in first(facts, "run_started").get("topics", ())
    ]
    lives = dict.fromkeys((topic.name for topic in found), 1)
    for fact in every(facts, "topic_returned"):
        name, before = str(fact["topic"]), int(fact["of"])
        if int(fact["index"]) != len(found) or name not in lives or before >= len(found):
            break  # the fact before it is lost: which index names which topic is not known any more
        lives[name] += 1
        found.append(replace(found[before], name=f"{name}#{lives[name]}"))
    return tuple(found)


def deletions(
    facts: Sequence[Fact], injections: Sequence[InjectionFacts], topics: Sequence[TopicFacts]
) -> tuple[Deletion, ...]:
    """The topics that faults deleted, or may have deleted."""
    told = {str(fact["injection"]): fact for fact in every(facts, "topic_deleted")}
    ends = {str(fact["id"]): fact.get("readback", {}).get("ends", ()) for fact in every(facts, "fault_injected")}
    found = []
    for one in injections:
        if "topic" not in one.voids or one.call_ns < 0:
            continue
        role = Role[str(one.params.get("topic", "output")).upper()]
        fact = told.get(one.id, {})
        default = next((number for number, topic in enumerate(topics) if topic.role is role), -1)
        found.append(
            Deletion(
                injection=one.id,
                topic=int(fact.get("index", default)),
                role=role,
                call_ns=one.call_ns,
                returned_ns=one.returned_ns,
                clean=bool(fact.get("clean")),
                read=tuple(fact.get("positions", ())),
                ends=tuple(ends.get(one.id, ())),
            )
        )
    return tuple(found)


def _proofs(values: Iterable[Mapping[str, Any]]) -> tuple[Proof, ...]:
    proofs = []
    for value in values:
        try:
            proofs.append(
                Proof(
                    source=Source(value["source"]),
                    on=value["on"],
                    relation=Relation(value["relation"]),
                    amount=float(value.get("amount", 0.0)),
                    words=tuple(value.get("words", ())),
                    stream=value.get("stream", ""),
                    gauge=value.get("gauge", ""),
                )
            )
        except (KeyError, TypeError, ValueError):
            # A proof of a later version cannot be judged here, and the others alone prove less than was promised.
            return ()
    return tuple(proofs)


def injections(facts: Sequence[Fact]) -> tuple[InjectionFacts, ...]:
    """Every planned injection with what became of it, in the order of the plan."""
    found: dict[str, InjectionFacts] = {}
    for fact in facts:
        if fact["kind"] == "fault_planned":
            found[fact["id"]] = _planned(fact)
            continue
        step = _STEPS.get(fact["kind"])
        # The watchdog speaks of leases: its `id` is the lease's, `injection` the injection's.
        name = fact.get("injection", fact.get("id"))
        if step is not None and name in found:
            found[name] = step(found[name], fact)
    return tuple(_at_the_end(injection) for injection in found.values())


def _planned(fact: Fact) -> InjectionFacts:
    return InjectionFacts(
        id=fact["id"],
        fault=fact.get("fault", ""),
        on=fact.get("on", ""),
        params=fact.get("params", {}),
        planned_at_ns=int(fact.get("at_ns", -1)),
        for_ns=int(fact.get("for_ns", 0) or 0),
        bite=_proofs(fact.get("bite", ())),
        healed=_proofs(fact.get("healed", ())),
        voids=tuple(fact.get("voids", ())),
    )


def _intended(injection: InjectionFacts, fact: Fact) -> InjectionFacts:
    return replace(injection, state="injected", call_ns=fact["t_ns"])


def _injected(injection: InjectionFacts, fact: Fact) -> InjectionFacts:
    return replace(injection, state="injected", call_ns=fact["call_ns"], returned_ns=fact["returned_ns"])


def _failed(injection: InjectionFacts, fact: Fact) -> InjectionFacts:
    return replace(injection, state="failed")


def _healed(injection: InjectionFacts, fact: Fact) -> InjectionFacts:
    # The watchdog undid it while the conductor hung: what that undid afterwards was gone already.
    if injection.state == "healed" and injection.clear_low_ns >= injection.returned_ns >= 0:
        return injection
    return _cleared(injection, fact)


def _cleared(injection: InjectionFacts, fact: Fact) -> InjectionFacts:
    return replace(
        injection,
        # An injection that failed stays failed: it was never in force as planned.
        state="failed" if injection.state == "failed" else "healed",
        clear_low_ns=fact.get("clear_low_ns", -1),
        clear_high_ns=fact.get("clear_high_ns", -1),
        healed_by=fact.get("by", fact.get("process", "")),
    )


def _unhealed(injection: InjectionFacts, fact: Fact) -> InjectionFacts:
    return replace(injection, state="unhealed")


def _undone(injection: InjectionFacts, fact: Fact) -> InjectionFacts:
    if injection.clear_high_ns >= 0:  # healed before: the second undo found nothing to do
        return injection
    return _cleared(injection, fact) if fact.get("ok", True) else _unhealed(injection, fact)


_STEPS = {
    "fault_intended": _intended,
    "fault_injected": _injected,
    "fault_failed": _failed,
    "fault_healed": _healed,
    "heal_failed": _unhealed,
    "lease_undone": _undone,
}


def _at_the_end(injection: InjectionFacts) -> InjectionFacts:
    return replace(injection, state="unhealed") if injection.state == "injected" else injection


def gauges(facts: Sequence[Fact]) -> tuple[str, ...]:
    """The names of what the servers told, in the order that rows index; none in a journal of before."""
    return tuple(str(name) for name in first(facts, "gauges").get("names", ()))


def drain(facts: Sequence[Fact], topics: Sequence[TopicFacts]) -> dict[int, DrainFacts] | None:
    """What the drain proved, by the number of the input partition; None when there was no drain.

    A journal of one input topic need not name it.
    """
    fact = first(facts, "drain")
    if not fact:
        return None
    known = firsts((topic.name, topic.partitions) for topic in topics if topic.role is Role.INPUT)
    return {
        (number := known.get(str(row.get("topic", "")), 0) + int(row["partition"])): DrainFacts(
            partition=number,
            proved=bool(row.get("proved")),
            input_end=int(row.get("input_end", -1)),
            committed=int(row.get("committed", -1)),
            why=str(row.get("why", "")),
        )
        for row in fact.get("partitions", ())
    }


def unhealthy(facts: Sequence[Fact]) -> tuple[Unhealthy, ...]:
    """Spans in which the stack itself failed, as stated by the conductor."""
    return tuple(
        Unhealthy(str(fact["on"]), int(fact["from_ns"]), int(fact["until_ns"]), int(fact["failures"]))
        for fact in every(facts, "stack_unhealthy")
    )


def results(started: Fact) -> tuple[Owed, ...]:
    """The kinds of outputs that an envelope owes, in the order of their numbers; empty where it owes one of any."""
    target = started.get("target", {})
    counts = [int(count) for count in target.get("results", ())]
    optional, late = set(target.get("optional", ())), set(target.get("late", ()))
    # Where there are several inputs: which of them each kind is owed by, and which of them each stream belongs to.
    owing, dealt = target.get("owing", ()), [int(number) for number in target.get("dealt", ())]
    streams = [tuple(n for n, number in enumerate(dealt) if number in owing[kind]) for kind in range(len(owing))]
    return tuple(
        Owed(count, kind in optional, kind in late, streams[kind] if dealt else None)
        for kind, count in enumerate(counts)
    )


def unnamed(facts: Sequence[Fact]) -> tuple[str, ...]:
    """The topics between services that have records without an identity: who is not seen there may have been."""
    return tuple(first(facts, "fresh_read_done").get("unnamed", ()))


def replayed(facts: Sequence[Fact], topics: Sequence[TopicFacts]) -> tuple[tuple[int, int, int], ...] | None:
    """The dead letters whose records were sent again, or may have been; None where no replay was asked for."""
    if not first(facts, "run_started").get("experiment", {}).get("replay"):
        return None
    intended = every(facts, "replay_intended")
    numbers = {topic.name: number for number, topic in enumerate(topics)}
    places = [place for fact in intended for place in fact.get("letters", ())]
    return tuple((numbers[str(name)], int(partition), int(offset)) for name, partition, offset in places)


def deaths(facts: Sequence[Fact]) -> tuple[str, ...]:
    """Processes of chaosd that ended before their time."""
    named = [str(fact.get("process", "")) for fact in every(facts, "process_died")]
    return tuple(dict.fromkeys([*named, *(["conductor"] if first(facts, "conductor_died") else [])]))


def watermark(facts: Sequence[Fact]) -> int:
    """The global index up to which (exclusive) the generator may have sent."""
    return max((int(fact.get("upto", 0)) for fact in every(facts, "send_intended")), default=0)
