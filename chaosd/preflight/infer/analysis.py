"""The rounds: interpret the whole project until what flows where no longer changes, at most five times."""

from __future__ import annotations

import sys
from collections.abc import Collection
from dataclasses import dataclass, field

from chaosd.preflight.index.declared import Declarations
from chaosd.preflight.index.project import Project
from chaosd.preflight.index.shape import Shapes
from chaosd.preflight.infer.interpreter import Later, run_function, run_module
from chaosd.preflight.infer.world import Flow, Flows, Key, Record, World, together
from chaosd.process.crew import Exchange, alone

ROUNDS_MAX = 5  # values travel one step a round: a factory, its caller, a constructor, an attribute, its use
_RECURSION_LIMIT = 10_000  # long chains of calls and additions nest the syntax tree deeply


@dataclass(frozen=True, slots=True)
class Analysis:
    """A project, what flows where, and the value of every expression.

    Where several processes share the work, `record` holds the modules of one `part` of the project. What rules ask of
    all of them stands in `gathered`, by what gathers it.
    """

    project: Project
    shapes: Shapes
    flows: Flows
    record: Record
    part: Collection[str]
    gathered: dict[str, frozenset[object]] = field(default_factory=dict)

    @property
    def is_partial(self) -> bool:
        """Whether there are modules that this process has no record of."""
        return len(self.part) < len(self.project.modules)


def analyse(project: Project, part: Collection[str] | None = None, exchange: Exchange = alone) -> Analysis:
    """Infer values for the modules of one part of the project, by default for all.

    Each round reads only what the round before saw, and starts from "anything is possible": whichever round is the
    last, its values are a safe description. That is why the modules of a round may be interpreted by several
    processes; what each let flow is joined in the order of their names, whoever interpreted them.
    """
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, _RECURSION_LIMIT))
    try:
        return _analyse(project, project.modules if part is None else part, exchange)
    finally:
        sys.setrecursionlimit(before)


def _analyse(project: Project, part: Collection[str], exchange: Exchange) -> Analysis:
    world = World(project, Shapes(project))
    modules = {name: _Module(project.modules[name]) for name in sorted(part)}
    flows: dict[str, Flows] = {}
    changed: set[Key] | None = None
    for _ in range(ROUNDS_MAX):
        new = {name: module.interpret(world, changed) for name, module in modules.items() if not module.stands(changed)}
        for found in exchange(new):
            flows.update(found)
        seen = together(flows[name] for name in sorted(flows))
        changed = seen.changed_since(world.known)
        if not changed:
            break
        world.known = seen
    record = Record()
    for module in modules.values():
        for unit in (module.body, *module.functions):
            record.add(unit.record)
    return Analysis(project, world.shapes, world.known, record, part)


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

    def stands(self, changed: set[Key] | None) -> bool:
        """Whether nothing in the module need be interpreted again."""
        return self.body.stands(changed) and all(unit.stands(changed) for unit in self.functions)

    def interpret(self, world: World, changed: set[Key] | None) -> Flows:
        """Interpret whatever read something that has changed, in the order of the source; what the module let flow."""
        world.seen = Flows()
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
        return world.seen
