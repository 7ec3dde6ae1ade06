"""The rounds: interpret the whole project until what flows where no longer changes, at most four times."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from chaosd.preflight.index.project import Project
from chaosd.preflight.index.shape import Shapes
from chaosd.preflight.infer.interpreter import run_module
from chaosd.preflight.infer.world import Flows, Record, World

ROUNDS_MAX = 4
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
    for _ in range(ROUNDS_MAX):
        seen = _round(world)
        settled = (seen.product, seen.tests, seen.escaped, seen.written) == (
            world.known.product,
            world.known.tests,
            world.known.escaped,
            world.known.written,
        )
        world.known = seen
        if settled:
            break
    world.record = Record()
    _round(world)
    return Analysis(project, world.shapes, world.known, world.record)


def _round(world: World) -> Flows:
    world.seen = Flows()
    for name in sorted(world.project.modules):
        run_module(world, world.project.modules[name])
    return world.seen
