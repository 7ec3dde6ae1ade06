"""The rounds: interpret the whole project until what flows where no longer changes, at most five times."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

from chaosd.preflight.index.project import Project
from chaosd.preflight.index.shape import Shapes
from chaosd.preflight.infer.interpreter import run_module
from chaosd.preflight.infer.world import Flow, Flows, Key, Record, World

ROUNDS_MAX = 5  # values travel one step a round: a factory, its caller, a constructor, an attribute, its use
_RECURSION_LIMIT = 10_000  # long chains of calls and additions nest the syntax tree deeply


@dataclass(frozen=True, slots=True)
class Analysis:
    """A project, what flows where, and the value of every expression."""

    project: Project
    shapes: Shapes
    flows: Flows
    record: Record


def analyse(project: Project) -> Analysis:
    """Infer values for the whole project.

    Each round reads only what the round before saw, and starts from "anything is possible": whichever round is the
    last, its values are a safe description.
    """
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, _RECURSION_LIMIT))
    try:
        return _analyse(project)
    finally:
        sys.setrecursionlimit(before)


def _analyse(project: Project) -> Analysis:
    world = World(project, Shapes(project))
    states = {name: _State() for name in sorted(project.modules)}
    changed: set[Key] = set()
    for number in range(ROUNDS_MAX):
        world.seen = Flows()
        for name, state in states.items():
            if state.record is None or not state.reads.isdisjoint(changed):
                _interpret(world, name, state, recording=number > 0)
            else:
                for flow in state.given:
                    world.seen.add(*flow)
        changed = world.seen.changed_since(world.known)
        if not changed and number:
            break
        world.known = world.seen
    record = Record()
    for state in states.values():
        if state.record is not None:
            record.add(state.record)
    return Analysis(project, world.shapes, world.known, record)


@dataclass(slots=True)
class _State:
    """Of one module, when it was interpreted last: what it asked for, what it let flow, and its record.

    A module that asked for nothing that has changed would do the same again.
    """

    reads: set[Key] = field(default_factory=set)
    given: list[Flow] = field(default_factory=list)
    record: Record | None = None


def _interpret(world: World, name: str, state: _State, *, recording: bool) -> None:
    world.reads, world.given = set(), []
    world.record = Record() if recording else None
    run_module(world, world.project.modules[name])
    state.reads, state.given, state.record = world.reads, world.given, world.record
