"""What every room of one run needs: its identity, its testbed, its facts, its voice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chaosd.experiment.spec import Experiment
from chaosd.experiment.timeline import Step
from chaosd.healing.leases import Leases
from chaosd.journal.write import Facts
from chaosd.kernel.clock import SECOND, Clock
from chaosd.testbed.testbed import Testbed

Emit = Callable[[dict[str, Any]], None]


@dataclass(slots=True)
class Context:
    """One run. `emit` speaks to the surface; facts go to the journal."""

    run_id: str
    run_tag: int
    seed: int
    run_dir: Path
    experiment: Experiment
    testbed: Testbed
    facts: Facts
    leases: Leases
    clock: Clock
    emit: Emit
    base_wall_ns: int
    current_phase: str = ""
    phase_ends_ns: int = 0

    def phase(self, name: str, text: str, lasts_ns: int = 0) -> None:
        """Enter a phase: a fact and a word to the surface. `lasts_ns` 0: not known beforehand."""
        self.current_phase = name
        self.phase_ends_ns = self.clock.now_ns() + lasts_ns if lasts_ns else 0
        self.facts.append("phase", name=name)
        self.emit({"event": "phase", "name": name, "text": text})

    def left_s(self, now_ns: int) -> float | None:
        """Seconds until the phase ends, None when nobody knows."""
        return round(max(0, self.phase_ends_ns - now_ns) / SECOND, 1) if self.phase_ends_ns else None

    def note(self, text: str) -> None:
        """Say something that people should know."""
        self.emit({"event": "note", "text": text})

    def say_fault(self, state: str, step: Step, text: str) -> None:
        """Tell the surface about a fault; the journal has its own fact."""
        self.emit({"event": "fault", "state": state, "id": step.id, "fault": step.fault, "on": step.on, "text": text})
