"""The rounds: interpret the whole project until what flows where no longer changes, at most five times."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

from chaosd.preflight.index.declared import Declarations
from chaosd.preflight.index.project import Project
from chaosd.preflight.index.shape import Shapes
from chaosd.preflight.infer.interpreter import Later, run_function, run_module
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
    modules = [_Module(project.modules[name]) for name in sorted(project.modules)]
    changed: set[Key] | None = None
    for _ in range(ROUNDS_MAX):
        world.seen = Flows()
        for module in modules:
            module.interpret(world, changed)
        changed = world.seen.changed_since(world.known)
        if not changed:
            break
        world.known = world.seen
    record = Record()
    for module in modules:
        for unit in (module.body, *module.functions):
            record.add(unit.record)
    return Analysis(project, world.shapes, world.known, record)


@dataclass(slots=True)
class _Unit:
    """What one scope asked for when it was interpreted last, what it let flow, and its record.

    A scope that asked for nothing that has changed would do the same again.
    """

    reads: set[Key] = field(default_factory=set)
    given: list[Flow] = field(default_factory=list)
    record: Record = field(default_factory=Record)

    def stands(self, changed: set[Key] | None) -> bool:
        """Whether the unit need not be interpreted again; None as `changed` is the first round."""
        return changed is not None and self.reads.isdisjoint(changed)

    def enter(self, world: World) -> None:
        """From now on it is this unit that is interpreted."""
        self.reads, self.given, self.record = set(), [], Record()
        world.reads, world.given, world.record = self.reads, self.given, self.record

    def repeat(self, world: World) -> None:
        """Let flow what the unit let flow the last time."""
        for flow in self.given:
            world.seen.add(*flow)


@dataclass(slots=True)
class _Module:
    """A module's body, and its functions and methods: none of these sees more of another than what flows.

    Which functions there are does not depend on values, so `functions` stay the same from round to round.
    """

    declared: Declarations
    body: _Unit = field(default_factory=_Unit)
    defined: list[Later] = field(default_factory=list)
    functions: list[_Unit] = field(default_factory=list)

    def interpret(self, world: World, changed: set[Key] | None) -> None:
        """Interpret whatever read something that has changed, in the order of the source."""
        if self.body.stands(changed):
            self.body.repeat(world)
        else:
            self.body.enter(world)
            self.defined = run_module(world, self.declared)
            self.functions = self.functions or [_Unit() for _ in self.defined]
        for unit, (scope, function) in zip(self.functions, self.defined, strict=True):
            if unit.stands(changed):
                unit.repeat(world)
            else:
                unit.enter(world)
                run_function(world, scope, function)
