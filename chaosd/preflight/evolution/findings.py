"""The findings of schema evolution: the source of today against all snapshots (TRANSITIVE)."""

from __future__ import annotations

from collections.abc import Iterator

from chaosd.kernel.finding import Finding
from chaosd.preflight.evolution.compatibility import Problem, problems
from chaosd.preflight.evolution.oracle import Replay, replay
from chaosd.preflight.evolution.schema import ModelSchema, Schemas
from chaosd.preflight.report import DIRECTIONS

RULE = "schema-evolution"


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


def _finding(model: ModelSchema, problem: Problem, snapshot: str, direction: str, *, proved: bool) -> Finding:
    line = next((field.line for field in model.fields if field.name == problem.field), model.line)
    who = f"{model.name} no longer reads events of snapshot {snapshot}"
    if direction == "forward":
        who = f"{model.name} of snapshot {snapshot} cannot read new events"
    shown = "; a replay failed too" if proved else ""
    symbol = f"{model.name}.{problem.field}:{direction}"
    return Finding(model.path, line, 0, RULE, f"{who}: it {problem.reason}{shown}", symbol=symbol)
