"""The findings of schema evolution: the source of today against all snapshots (TRANSITIVE)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from chaosd.kernel.errors import SourceError
from chaosd.kernel.finding import Confidence, Finding
from chaosd.preflight.evolution.compatibility import Problem, problems
from chaosd.preflight.evolution.oracle import Replay, read, replay
from chaosd.preflight.evolution.recorded import Recorded
from chaosd.preflight.evolution.schema import ModelSchema, Schemas
from chaosd.preflight.report import DIRECTIONS, EVOLVED


def findings(
    today: Schemas, snapshots: list[tuple[str, Schemas]], mode: str, *, with_replay: bool = True
) -> Iterator[Finding]:
    """Backward: today's models read what each snapshot's wrote. Forward: the snapshot's read what today's write."""
    told: set[tuple[str, str, str]] = set()
    for name, then in snapshots:
        if then.shape() == today.shape():
            continue
        for direction in DIRECTIONS[mode]:
            writer, reader = (then, today) if direction == "backward" else (today, then)
            proof = replay(writer, reader) if with_replay else Replay({}, frozenset())
            for key, model in sorted(today.models.items()):
                reasons = problems(writer, reader, key)
                if not reasons and key in proof.failures:
                    reasons = [Problem(key, proof.failures[key].partition(":")[0], proof.failures[key])]
                for problem in reasons:
                    mark = (key, direction, problem.reason)
                    if mark not in told:
                        told.add(mark)
                        yield _finding(model, problem, name, direction, proved=key in proof.failures)


def unread(events: Sequence[Recorded], today: Schemas, mended: Collection[str]) -> Iterator[Finding]:
    """Recorded events that today's models do not read, each reason once for a model.

    `mended` are the models with validators of their own: these may mend an old event and are not run, so their
    findings have low confidence. Raises SourceError for a model that cannot be rebuilt.
    """
    if not events:
        return
    readings = read(events, today)
    told: set[tuple[str, str]] = set()
    for at, event in enumerate(events):
        if event.model not in readings.readers:
            raise SourceError(
                f"{event.model} cannot be rebuilt from its schema, so its events cannot be replayed",
                file=event.file,
                line=event.line,
                remedy="leave its events out of the file",
            )
        error = readings.failures.get(at)
        place, _, reason = (error or "").partition(": ")
        # values differ from event to event: the reason is told without them
        mark = (event.model, place if " came back as " in reason else reason and f"{place}: {reason}")
        if error is None or mark in told:
            continue
        told.add(mark)
        model = today.models[event.model]
        name = place.partition(".")[0]
        line = next((field.line for field in model.fields if name in {field.name, field.alias}), model.line)
        message = f"{model.name} does not read the event recorded at {event.file}:{event.line}: {error}"
        low = event.model in mended
        yield Finding(
            model.path,
            line,
            0,
            EVOLVED,
            message + ("; its own validators, which may mend it, were not run" if low else ""),
            symbol=f"{model.name}.{place}:recorded",
            confidence=Confidence.LOW if low else Confidence.HIGH,
        )


def _finding(model: ModelSchema, problem: Problem, snapshot: str, direction: str, *, proved: bool) -> Finding:
    line = next((field.line for field in model.fields if field.name == problem.field), model.line)
    who = f"{model.name} no longer reads events of snapshot {snapshot}"
    if direction == "forward":
        who = f"{model.name} of snapshot {snapshot} cannot read new events"
    shown = "; a replay failed too" if proved else ""
    symbol = f"{model.name}.{problem.field}:{direction}"
    return Finding(model.path, line, 0, EVOLVED, f"{who}: it {problem.reason}{shown}", symbol=symbol)
