"""When a fault counts: in force (its proofs), exposed (the target used that path), healed (its proofs of being gone).

Proofs are data (kernel/proof.py); here they are held against canaries, samples of sockets and of processes, and what
the servers told of themselves. `felt` is never required, or a robust target could not pass.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from chaosd.journal.columns import NOT_KNOWN, SENDS, Path, Probe, ProbeOutcome, State
from chaosd.journal.model import History, InjectionFacts, RunFacts
from chaosd.kernel import names
from chaosd.kernel.clock import MS, SECOND
from chaosd.kernel.proof import Proof, Relation, Source
from chaosd.verification import gauges, sent

TARGET, TOXIPROXY = "target", "toxiproxy"
PROVED, MISSING, UNKNOWN = "proved", "missing", "unknown"
# The canary must show this share of the delay that was set: the rest is jitter of the machine.
_SHARE = 0.8
# A ramp goes in steps, and each step lets go what was held back until then.
_SHARE_MOVED = 0.5
_RATE_TOLERANCE = 0.3
# Connections that died with the fault are noticed by their next use.
_GRACE_NS = SECOND
_NOISE_MS = 10.0
_WORDS = {outcome.name.lower(): int(outcome) for outcome in ProbeOutcome}
_STATES = {state.name.lower(): int(state) for state in State}


@dataclass(frozen=True, slots=True)
class Evidence:
    """The columns that show what a fault did."""

    canaries: np.ndarray
    exposure: np.ndarray
    resources: np.ndarray
    gauges: np.ndarray
    sends: np.ndarray = field(default_factory=lambda: np.zeros(0, SENDS.dtype))


@dataclass(frozen=True, slots=True)
class FaultVerdict:
    """What is known of one injection. `bite`, `healed`, `exposed`: proved | missing | unknown."""

    injection: InjectionFacts
    bite: str
    healed: str
    exposed: str
    evidence: dict[str, Any]
    bypass: bool = False


@dataclass(frozen=True, slots=True)
class Window:
    """[from_ns, until_ns] in which evidence counts; both ends belong to it."""

    from_ns: int
    until_ns: int

    def of(self, times_ns: np.ndarray) -> np.ndarray:
        """Mask of the times inside."""
        return np.asarray((times_ns >= self.from_ns) & (times_ns <= self.until_ns))


def gather(history: History) -> Evidence:
    """Read the columns."""
    return Evidence(*(history.column(name) for name in ("canaries", "exposure", "resources", "gauges", "sends")))


def judge_fault(run: RunFacts, evidence: Evidence, injection: InjectionFacts) -> FaultVerdict:
    """Hold one injection's proofs against the evidence. One that never happened has nothing to show."""
    if injection.call_ns < 0:
        return FaultVerdict(injection, MISSING, MISSING, UNKNOWN, {})
    shown: dict[str, Any] = {}
    force = _in_force(run, injection)
    gone = _after(run, injection)
    bite = [_Check(run, evidence, injection, proof, force).holds(shown) for proof in _each(run, injection.bite)]
    healed = [False]
    if gone is not None:
        proofs = _each(run, injection.healed)
        healed = [_Check(run, evidence, injection, proof, gone, healed=True).holds(shown) for proof in proofs]
    if injection.overlay:  # it breaks nothing, so there is nothing to be healed, and nothing to be on the way of
        return FaultVerdict(injection, PROVED if bite and all(bite) else MISSING, PROVED, PROVED, shown)
    exposed, bypass = _exposed(run, evidence, injection, shown)
    return FaultVerdict(
        injection,
        PROVED if bite and all(bite) else MISSING,
        PROVED if healed and all(healed) else MISSING,
        exposed,
        shown,
        bypass,
    )


def _each(run: RunFacts, proofs: tuple[Proof, ...]) -> list[Proof]:
    """The proofs, and of one that is about several things (all brokers) one about each of them.

    A gauge says by its name what it is about: it may be told by all of them together.
    """
    known = tuple(dict.fromkeys((*run.parts, *run.processes)))
    made = []
    for proof in proofs:
        about = () if proof.source is Source.GAUGE else names.members(known, proof.on)
        made += [replace(proof, on=name) for name in about or (proof.on,)]
    return made


def before_faults(run: RunFacts) -> Window:
    """The time that evidence is compared with: from the baseline to the first injection, or all before that; the
    baseline alone where nothing was injected.
    """
    base = [segment for segment in run.segments if segment.phase == "baseline"]
    start = min((segment.start_ns for segment in base), default=run.started_ns)
    end = max((segment.start_ns + segment.count * segment.interval_ns for segment in base), default=run.started_ns)
    first = min((one.call_ns for one in run.injections if one.call_ns >= 0), default=end)
    return Window(min(start, first), first - 1)


def _in_force(run: RunFacts, injection: InjectionFacts) -> Window:
    until = injection.clear_low_ns if injection.clear_low_ns >= 0 else _end(run)
    return Window(injection.returned_ns if injection.returned_ns >= 0 else injection.call_ns, until)


def _after(run: RunFacts, injection: InjectionFacts) -> Window | None:
    """From the heal to the next injection on the same way: on the same part, or on Toxiproxy, which carries them all.

    What is broken there by another injection is waited out. None where that never ends, and where nothing was healed.
    """
    if injection.clear_high_ns < 0:
        return None
    others = [one for one in run.injections if one is not injection and one.call_ns >= 0 and _one_way(one, injection)]
    from_ns = injection.clear_high_ns
    for one in sorted(others, key=lambda one: one.call_ns):
        if one.call_ns <= from_ns and (one.clear_high_ns < 0 or one.clear_high_ns > from_ns):
            if one.clear_high_ns < 0:
                return None
            from_ns = one.clear_high_ns
    return Window(from_ns, min((one.call_ns for one in others if one.call_ns > from_ns), default=_end(run)))


def _one_way(one: InjectionFacts, other: InjectionFacts) -> bool:
    if one.overlay or other.overlay:
        return False
    kinds = {names.kind(one.on), names.kind(other.on)}
    return names.touch(one.on, other.on) or (TOXIPROXY in kinds and TARGET not in kinds)


def _end(run: RunFacts) -> int:
    last = max((int(fact["t_ns"]) for fact in run.facts if "t_ns" in fact), default=run.started_ns)
    return last if run.ended_ns is None else run.ended_ns


@dataclass(frozen=True, slots=True)
class _Check:
    """One proof of one injection, to be held against the evidence of a window."""

    run: RunFacts
    evidence: Evidence
    injection: InjectionFacts
    proof: Proof
    window: Window
    healed: bool = False

    def holds(self, shown: dict[str, Any]) -> bool:
        """Whether the proof stands; what was asked and what was measured goes to `shown`."""
        stands, numbers = _RULES[self.proof.source](self)
        proof = self.proof
        where = proof.on if proof.on != self.injection.on else ""
        name = ".".join(word for word in (proof.source, where, proof.gauge, proof.stream) if word)
        shown[f"{'healed' if self.healed else 'bite'}.{name}"] = {"asked": proof.asked, **numbers}
        return stands

    def canaries(self, path: Path, *probes: Probe) -> np.ndarray:
        """The probes of the proof's part."""
        rows = self.evidence.canaries
        part = self.proof.on if self.proof.on in self.run.parts else names.kind(self.proof.on)
        if part not in self.run.parts:
            return np.asarray(rows[:0])
        mine = (rows["on"] == self.run.parts.index(part)) & (rows["path"] == path) & np.isin(rows["probe"], probes)
        return np.asarray(rows[mine])

    def sent(self) -> tuple[np.ndarray, int, int]:
        """What the generator handed to its client, and the window."""
        return self.evidence.sends, self.window.from_ns, self.window.until_ns

    def process(self) -> np.ndarray:
        """The samples of the proof's process, in order of time."""
        on, rows = self.proof.on, self.evidence.resources
        name = on if on in self.run.processes else names.kind(on)
        if name not in self.run.processes:
            return np.asarray(rows[:0])
        rows = rows[rows["process"] == self.run.processes.index(name)]
        return np.asarray(rows[np.argsort(rows["t_ns"], kind="stable")])


_Answer = tuple[bool, dict[str, Any]]


def _round_trip(check: _Check) -> _Answer:
    return _lasts(check, Probe.PING)


def _closing(check: _Check) -> _Answer:
    return _lasts(check, Probe.CLOSE)


def _lasts(check: _Check, probe: Probe) -> _Answer:
    """How long probes take, ms, against the baseline."""
    probes = check.canaries(Path.PROXIED, probe)
    taken = (probes["done_ns"] - probes["sent_ns"]) / MS
    base = taken[before_faults(check.run).of(probes["done_ns"]) & (probes["outcome"] == ProbeOutcome.OK)]
    # A probe that ran into its time-out took at least that long.
    inside = check.window.of(probes["sent_ns"]) & np.isin(probes["outcome"], (ProbeOutcome.OK, ProbeOutcome.TIMEOUT))
    now = taken[inside]
    if not len(base) or not len(now):
        return False, {"baseline_samples": len(base), "samples": len(now)}
    middle = float(np.median(base))
    noise = float(np.percentile(base, 99)) - middle
    if check.proof.relation is Relation.MOVES_BY:
        # What was still under way at the heal was let go by it.
        inside &= check.window.of(probes["done_ns"])
        return _moves(check, probes["sent_ns"][inside], taken[inside], noise)
    rise = float(np.median(now)) - middle
    numbers = {"baseline_ms": round(middle, 2), "rise_ms": round(rise, 2), "noise_ms": round(noise, 2)}
    if check.proof.relation is Relation.RISES_BY:
        return rise >= _SHARE * check.proof.amount and rise > noise, numbers
    return rise <= max(noise, _NOISE_MS, check.proof.amount / 4), numbers


def _moves(check: _Check, sent_ns: np.ndarray, taken: np.ndarray, noise: float) -> _Answer:
    """What a ramp does: the window's last third against its first."""
    window, amount = check.window, check.proof.amount
    third = (window.until_ns - window.from_ns) / 3
    first, last = taken[sent_ns <= window.from_ns + third], taken[sent_ns >= window.until_ns - third]
    if not len(first) or not len(last):
        return False, {"first_samples": len(first), "last_samples": len(last)}
    moved = float(np.median(last) - np.median(first))
    numbers = {"moved_ms": round(moved, 2), "noise_ms": round(noise, 2)}
    return moved * np.sign(amount) >= max(_SHARE_MOVED * abs(amount), noise), numbers


def _rate(check: _Check) -> _Answer:
    """The direction that the proof names, both for `both`; any that was measured when it names none."""
    stream, numbers, stands = check.proof.stream, {}, []
    for name, probe in (("upstream", Probe.BULK_UP), ("downstream", Probe.BULK_DOWN)):
        if stream not in ("", "both", name):
            continue
        bulk = check.canaries(Path.PROXIED, probe)
        bulk = bulk[(bulk["outcome"] == ProbeOutcome.OK) & (bulk["done_ns"] > bulk["sent_ns"])]
        rates = bulk["bytes"] / 1_000 / ((bulk["done_ns"] - bulk["sent_ns"]) / SECOND)
        base = rates[before_faults(check.run).of(bulk["done_ns"])]
        now = rates[check.window.of(bulk["sent_ns"]) & check.window.of(bulk["done_ns"])]
        numbers[name] = {"kb_s": _median(now), "baseline_kb_s": _median(base), "samples": len(now)}
        if len(now) or stream:
            stands.append(_rate_stands(check.proof, now, base))
    return bool(stands) and all(stands), numbers


def _rate_stands(proof: Proof, now: np.ndarray, base: np.ndarray) -> bool:
    if not len(now):
        return False
    if proof.relation is Relation.NEAR:
        return bool(abs(float(np.median(now)) - proof.amount) <= _RATE_TOLERANCE * proof.amount)
    if proof.relation is Relation.AT_MOST:
        return bool(
            len(base) and np.median(now) <= min((1 + _RATE_TOLERANCE) * proof.amount, float(np.median(base)) / 2)
        )
    if proof.relation is Relation.ABOVE:
        return bool(np.median(now) >= 2 * proof.amount)
    return bool(len(base) and np.median(now) >= np.median(base) / 2)


def _outcome(check: _Check) -> _Answer:
    path = Path.DIRECT if check.proof.source is Source.DIRECT_OUTCOME else Path.PROXIED
    return _ends(check, check.canaries(path, Probe.PING, Probe.CONNECT))


def _bulk_outcome(check: _Check) -> _Answer:
    streams = {"upstream": (Probe.BULK_UP,), "downstream": (Probe.BULK_DOWN,)}
    return _ends(
        check,
        check.canaries(Path.PROXIED, *streams.get(check.proof.stream, (Probe.BULK_UP, Probe.BULK_DOWN))),
        grace_ns=0,  # each was begun after the heal, on a connection that was made for it
    )


def _ends(check: _Check, every: np.ndarray, grace_ns: int = _GRACE_NS) -> _Answer:
    now = every[check.window.of(every["sent_ns"])]
    named = np.isin(now["outcome"], [_WORDS[word] for word in check.proof.words])
    numbers = _tally(now["outcome"], ProbeOutcome)
    if check.proof.relation is Relation.ONE_OF:
        return bool(named.any()), numbers
    settled = now["sent_ns"] > check.window.from_ns + grace_ns
    if not settled.any():  # the next fault came before that: the last probe before it counts
        settled = now["sent_ns"] == now["sent_ns"].max(initial=0)
    # Another error than the fault's own is no health either: one probe at least went well.
    well = bool((now["outcome"][settled] == ProbeOutcome.OK).any())
    return well and not named[settled].any(), numbers


def _process_start(check: _Check) -> _Answer:
    rows = check.process()
    call_ns = check.injection.call_ns
    # What another injection on it ends later shows nothing of this one.
    others = [one for one in check.run.injections if names.touch(one.on, check.proof.on)]
    later = [one.call_ns for one in others if one.call_ns > call_ns]
    rows = rows[rows["t_ns"] <= min(later, default=_end(check.run))]
    before = rows[(rows["pid"] > 0) & (rows["state"] != State.GONE) & (rows["t_ns"] < call_ns)]
    after = rows[(rows["pid"] > 0) & (rows["state"] != State.GONE) & (rows["t_ns"] >= call_ns)]
    starts = {(int(row["pid"]), int(row["started"])) for row in after}
    gone = bool((rows["state"][rows["t_ns"] >= call_ns] == State.GONE).any())
    known = {(int(row["pid"]), int(row["started"])) for row in before[-1:]}
    return bool(known and (starts - known or gone)), {"seen_before": bool(known), "starts_after": len(starts)}


def _process_state(check: _Check) -> _Answer:
    rows = check.process()
    now = rows[check.window.of(rows["t_ns"])]
    named = np.isin(now["state"], [_STATES[word] for word in check.proof.words])
    numbers = _tally(now["state"], State)
    if check.proof.relation is Relation.ONE_OF:
        return bool(named.any()), numbers
    return bool(len(now) and not named.any()), numbers


def _gauge(check: _Check) -> _Answer:
    name = f"{check.proof.on}.{check.proof.gauge}"
    if name not in check.run.gauges:
        return False, {"told": False}
    rows = check.evidence.gauges[check.evidence.gauges["gauge"] == check.run.gauges.index(name)]
    rows = rows[np.argsort(rows["t_ns"], kind="stable")]
    settled = check.window.from_ns + (_GRACE_NS if check.healed else 0)
    return gauges.holds(
        check.proof,
        gauges.Told(
            base=rows[before_faults(check.run).of(rows["t_ns"])],
            before=rows[rows["t_ns"] < check.injection.call_ns],
            now=rows[check.window.of(rows["t_ns"]) & (rows["t_ns"] > settled)],
            healed=check.healed,
        ),
    )


_RULES: dict[Source, Callable[[_Check], _Answer]] = {
    Source.ROUND_TRIP_MS: _round_trip,
    Source.CLOSE_MS: _closing,
    Source.RATE_KB_S: _rate,
    Source.BULK_OUTCOME: _bulk_outcome,
    Source.OUTCOME: _outcome,
    Source.DIRECT_OUTCOME: _outcome,
    Source.PROCESS_START: _process_start,
    Source.PROCESS_STATE: _process_state,
    Source.GAUGE: _gauge,
    Source.SENT_HZ: lambda check: sent.rate(*check.sent(), check.proof),
    Source.SENT_TWICE: lambda check: sent.twice(*check.sent(), check.proof),
    Source.SENT_POISON: lambda check: sent.poison(check.run, *check.sent(), check.proof),
}


def _exposed(run: RunFacts, evidence: Evidence, injection: InjectionFacts, shown: dict[str, Any]) -> tuple[str, bool]:
    """Whether the target used the path in the baseline and was connected or trying around the fault; and whether it
    was seen to go past the proxy as well.
    """
    if names.kind(injection.on) == TARGET:
        return PROVED, False
    parts = run.parts if injection.on == TOXIPROXY else names.members(run.parts, injection.on)
    parts = parts or (names.kind(injection.on),)
    rows = evidence.exposure[np.isin(evidence.exposure["on"], [run.parts.index(p) for p in parts if p in run.parts])]
    if not len(rows):
        return UNKNOWN, False
    until = injection.clear_high_ns if injection.clear_high_ns >= 0 else _end(run)
    # Sockets that a fault closes at once are seen just before it.
    around = Window(injection.call_ns - _GRACE_NS, until + _GRACE_NS)
    used = rows["proxied"] > 0
    before = bool((used & before_faults(run).of(rows["t_ns"])).any())
    during = bool((used & around.of(rows["t_ns"])).any())
    told = rows["direct"] != NOT_KNOWN
    bypass = bool((rows["direct"][told] > 0).any())
    past = bypass if bypass or told.all() else None
    shown["exposed"] = {"used_before": before, "connected_during": during, "past_the_proxy": past}
    return (PROVED if before and during else MISSING), bypass


def _median(values: np.ndarray) -> float | None:
    return round(float(np.median(values)), 1) if len(values) else None


def _tally(values: np.ndarray, names: type[ProbeOutcome | State]) -> dict[str, int]:
    numbers, counts = np.unique(values, return_counts=True)
    return {names(int(n)).name.lower(): int(count) for n, count in zip(numbers, counts, strict=True)}
