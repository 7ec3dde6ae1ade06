"""An experiment after parsing: frozen values with numbers in plain units. What people write is in written.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import BaseModel

from chaosd.experiment.guards import NO_GUARDS, Guards
from chaosd.experiment.limits import DEFAULT, Limits
from chaosd.experiment.target import Pipeline
from chaosd.experiment.timeline import Step, lasts_ns
from chaosd.kernel import names
from chaosd.kernel.clock import SECOND

# Traffic goes on after the last heal for limit + hold + θ; θ above limit / 4 cannot be judged.
_THRESHOLD_SHARE = 4
_BESIDE_TRAFFIC_NS = 18 * SECOND
_KAFKA = "kafka"
# Faults by a server's own administration hit a cluster as a whole: its settings, its topics, its groups.
_OF_A_WHOLE = ("admin", "own")

PROFILES = ("standard", "quick")


@dataclass(frozen=True, slots=True)
class FaultForm:
    """What an experiment may say about one kind of fault: its parameters, what it can be `on`, what it `needs`.

    `needs` is the capability of the stack: `proxy`, `restart` or `admin`. `claims`, `keeps_out`: see faults/fault.py.
    """

    name: str
    params: type[BaseModel]
    on: tuple[str, ...]
    needs: str
    claims: tuple[str, ...] = ()
    keeps_out: bool = False

    def things(self, brokers: int) -> tuple[str, ...]:
        """What a step may be `on`, with so many brokers: a cluster as a whole, or a connection or process of one."""
        one = names.numbered(_KAFKA, range(1, brokers + 1)) if brokers > 1 and self.needs not in _OF_A_WHOLE else ()
        return (*self.on, *(one if _KAFKA in self.on else ()))


@dataclass(frozen=True, slots=True)
class Traffic:
    """Open-loop traffic. `poison`: the share of each kind that is in it, each in (0, 1]."""

    rate_hz: float
    streams: int
    poison: tuple[tuple[str, float], ...] = ()

    @property
    def poison_share(self) -> float:
        """The share of envelopes that are spoiled."""
        return sum(share for _, share in self.poison)


@dataclass(frozen=True, slots=True)
class Phases:
    """How long the pipeline is warmed up, measured without a fault, and must stay recovered to count as recovered."""

    warmup_ns: int
    baseline_ns: int
    hold_ns: int


@dataclass(frozen=True, slots=True)
class Recovery:
    """The limit of the recovery time, and from when it counts: the heal, or the injection. `threshold_ns` caps θ."""

    within_ns: int = 5 * SECOND
    from_: str = "heal"
    threshold_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Resources:
    """What the target may use; each is judged only where the experiment asks (verifiers/resources.py).

    `leak`: none | not_judged. `queue`: bounded | not_judged. `latency`: as_before | not_judged. `connections`: the most
    at once to one part, None for no limit.
    """

    leak: str = "not_judged"
    queue: str = "not_judged"
    latency: str = "not_judged"
    connections: int | None = None


@dataclass(frozen=True, slots=True)
class Expect:
    """What the judge holds the pipeline to.

    `loss`: none | not_judged. `duplicates`: none | allowed_during_faults | allowed. `order`: per_key |
    per_key_outside_faults | any. `system_errors`: exact | allowed_during_faults. `latency_p99_outside_faults_ns`: a
    limit over all envelopes outside of faults, None for no limit.
    """

    recovery: Recovery = Recovery()
    loss: str = "none"
    duplicates: str = "allowed_during_faults"
    order: str = "per_key"
    system_errors: str = "exact"
    latency_p99_outside_faults_ns: int | None = None
    resources: Resources = Resources()

    def to_json(self) -> dict[str, Any]:
        """JSON values, as the fact `run_started` keeps them."""
        return {
            "recovery": {
                "within_ns": self.recovery.within_ns,
                "from": self.recovery.from_,
                "threshold_ns": self.recovery.threshold_ns,
            },
            "loss": self.loss,
            "duplicates": self.duplicates,
            "order": self.order,
            "system_errors": self.system_errors,
            "latency_p99_outside_faults_ns": self.latency_p99_outside_faults_ns,
            "resources": asdict(self.resources),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Expect:
        """What `to_json` gave; a key that is missing (a journal that was cut off) has its default."""
        told, plain = data.get("recovery", {}), cls()
        recovery = Recovery(
            within_ns=int(told.get("within_ns", plain.recovery.within_ns)),
            from_=str(told.get("from", plain.recovery.from_)),
            threshold_ns=told.get("threshold_ns"),
        )
        return cls(
            recovery=recovery,
            loss=str(data.get("loss", plain.loss)),
            duplicates=str(data.get("duplicates", plain.duplicates)),
            order=str(data.get("order", plain.order)),
            system_errors=str(data.get("system_errors", plain.system_errors)),
            latency_p99_outside_faults_ns=data.get("latency_p99_outside_faults_ns"),
            resources=_resources(data.get("resources", {})),
        )


def _resources(told: Mapping[str, Any]) -> Resources:
    plain = Resources()
    return Resources(
        leak=str(told.get("leak", plain.leak)),
        queue=str(told.get("queue", plain.queue)),
        latency=str(told.get("latency", plain.latency)),
        connections=told.get("connections"),
    )


@dataclass(frozen=True, slots=True)
class Known:
    """A documented failure: the run is as it should be exactly when it has this verdict for exactly these classes."""

    verdict: str
    classes: tuple[str, ...]
    why: str = ""

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {"verdict": self.verdict, "classes": list(self.classes), "why": self.why}


@dataclass(frozen=True, slots=True)
class Experiment:
    """A parsed experiment. `timeline` is sorted by time; `notes` say what the profile or the plan changed, and why.

    `brokers`: of Kafka, 1 or 3. `replicas`: processes of the target. `pipeline`: what its target file says, None for
    one of chaosd's own. `replay`: `dlq` where dead letters are sent back after the heal.
    """

    name: str
    title: str
    description: str
    tags: tuple[str, ...]
    target: str
    profile: str
    traffic: Traffic
    phases: Phases
    timeline: tuple[Step, ...]
    expect: Expect
    known: Known | None = None
    notes: tuple[str, ...] = ()
    brokers: int = 1
    replicas: int = 1
    abort_when: Guards = NO_GUARDS
    limits: Limits = DEFAULT
    pipeline: Pipeline | None = None
    replay: str | None = None

    @property
    def faults(self) -> tuple[Step, ...]:
        """The steps that break something."""
        return tuple(step for step in self.timeline if not step.overlay)

    @property
    def overlays(self) -> tuple[Step, ...]:
        """The steps that change the traffic."""
        return tuple(step for step in self.timeline if step.overlay)

    @property
    def observe_ns(self) -> int:
        """How long traffic goes on after the last heal: limit + hold + the largest θ that can be judged."""
        within_ns = self.expect.recovery.within_ns
        return within_ns + self.phases.hold_ns + within_ns // _THRESHOLD_SHARE

    @property
    def traffic_ns(self) -> int:
        """How long the traffic is planned to last, without the burst and the drain."""
        return self.phases.warmup_ns + self.phases.baseline_ns + lasts_ns(self.timeline) + self.observe_ns

    @property
    def expected_ns(self) -> int:
        """How long a run takes on a testbed that is up: traffic, burst, drain, fresh read, judgement. A rough guess."""
        return self.traffic_ns + _BESIDE_TRAFFIC_NS

    def to_json(self) -> dict[str, Any]:
        """The resolved experiment as JSON values, defaults included: the fact `run_started` keeps it."""
        return {
            "name": self.name,
            "title": self.title,
            "description": self.description,
            "tags": list(self.tags),
            "target": self.target,
            "replicas": self.replicas,
            "stack": {"kafka": {"brokers": self.brokers}},
            "profile": self.profile,
            "traffic": {
                "rate_hz": self.traffic.rate_hz,
                "streams": self.traffic.streams,
                "poison": dict(self.traffic.poison),
            },
            "phases": {
                "warmup_ns": self.phases.warmup_ns,
                "baseline_ns": self.phases.baseline_ns,
                "hold_ns": self.phases.hold_ns,
            },
            "timeline": [step.to_json() for step in self.timeline],
            "replay": self.replay,
            "expect": self.expect.to_json(),
            "known": self.known.to_json() if self.known else None,
            "notes": list(self.notes),
            "abort_when": self.abort_when.to_json(),
            "limits": self.limits.to_json(),
        }
