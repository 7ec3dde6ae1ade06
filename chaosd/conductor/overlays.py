"""The overlays of a run: where the schedule is cut for them, what each piece is made of, and the facts of their edges.

They break nothing, so there is no lease and no heal. Their facts have the form of a fault's: they are shown, proved by
what was sent, and judged as part of an episode.
"""

from __future__ import annotations

from dataclasses import asdict

from chaosd.experiment.overlays import Mix, mix, next_edge_ns, proofs
from chaosd.experiment.spec import Traffic
from chaosd.experiment.timeline import Step
from chaosd.journal.write import Facts


class Overlays:
    """What is laid over the traffic, from `origin_ns` on. Before `plan` the traffic is as it is."""

    def __init__(self, traffic: Traffic, facts: Facts) -> None:
        self._traffic = traffic
        self._facts = facts
        self._origin_ns = 0
        self._steps: tuple[Step, ...] = ()
        self._begun: set[str] = set()
        self._ended: set[str] = set()

    def plan(self, steps: tuple[Step, ...], origin_ns: int) -> None:
        """Lay them on the clock: `origin_ns` is the end of the baseline."""
        self._steps, self._origin_ns = steps, origin_ns
        for step in steps:
            self._facts.append(
                "fault_planned",
                id=step.id,
                fault=step.fault,
                on=step.on,
                params=step.params.model_dump(mode="json"),
                at_ns=origin_ns + step.at_ns,
                for_ns=step.for_ns,
                bite=[asdict(proof) for proof in proofs(step)],
                healed=[],
                voids=[],
            )

    @property
    def until_ns(self) -> int:
        """When the last of them ends; 0 without any."""
        return max((self._origin_ns + step.until_ns for step in self._steps), default=0)

    def at(self, at_ns: int) -> Mix:
        """What the traffic is made of at a moment of the clock."""
        return mix(self._traffic, self._steps, at_ns - self._origin_ns)

    def edge_ns(self, after_ns: int) -> int | None:
        """When that changes next; None when it stays."""
        edge_ns = next_edge_ns(self._steps, after_ns - self._origin_ns)
        return None if edge_ns is None else self._origin_ns + edge_ns

    def scheduled(self, from_ns: int) -> None:
        """A piece begins at `from_ns`, the moment that counts for every overlay that begins or ends with it."""
        for step in self._steps:
            if step.id not in self._begun and from_ns >= self._origin_ns + step.at_ns:
                self._begun.add(step.id)
                self._facts.append(
                    "fault_injected", durable=True, id=step.id, call_ns=from_ns, returned_ns=from_ns, readback={}
                )
            if step.id not in self._ended and from_ns >= self._origin_ns + step.until_ns:
                self._ended.add(step.id)
                edges = {"clear_low_ns": from_ns, "clear_high_ns": from_ns}
                self._facts.append("fault_healed", durable=True, id=step.id, **edges, by="generator", evidence={})
