"""Profiles: how long the phases are when an experiment does not say, and what the definitions demand at least."""

from __future__ import annotations

from chaosd.experiment.spec import Phases, Traffic
from chaosd.experiment.written import PhasesForm
from chaosd.kernel.clock import MS, SECOND
from chaosd.kernel.units import format_duration

# `standard` follows docs/verification.md; `quick` is for tests and first tries.
_DEFAULTS = {
    "standard": Phases(warmup_ns=3 * SECOND, baseline_ns=6 * SECOND, hold_ns=5 * SECOND),
    "quick": Phases(warmup_ns=2 * SECOND, baseline_ns=3 * SECOND, hold_ns=2 * SECOND),
}
_BASELINE_ENVELOPES = 2_000
_BASELINE_NS = 30 * SECOND
_STEP_NS = 100 * MS


def resolve_phases(form: PhasesForm, traffic: Traffic, profile: str) -> tuple[Phases, tuple[str, ...]]:
    """The lengths of the phases, and notes for what differs from the file or from the definitions."""
    default = _DEFAULTS[profile]
    phases = Phases(
        warmup_ns=_or(form.warmup, default.warmup_ns),
        baseline_ns=_or(form.baseline, default.baseline_ns),
        hold_ns=_or(form.hold, default.hold_ns),
    )
    if profile == "quick":
        # Never longer than the file asks for.
        phases = Phases(
            warmup_ns=min(phases.warmup_ns, default.warmup_ns),
            baseline_ns=min(phases.baseline_ns, default.baseline_ns),
            hold_ns=min(phases.hold_ns, default.hold_ns),
        )
        note = (
            f"quick profile: warm-up {format_duration(phases.warmup_ns)}, "
            f"baseline {format_duration(phases.baseline_ns)} and hold {format_duration(phases.hold_ns)} "
            "are shorter than the definitions ask for"
        )
        return phases, (note,)
    notes = []
    if phases.hold_ns < default.hold_ns:
        notes.append(f"hold of {format_duration(phases.hold_ns)} is shorter than the definition's 5s")
    least_ns = min(_BASELINE_NS, -(-round(_BASELINE_ENVELOPES / traffic.rate_hz * SECOND) // _STEP_NS) * _STEP_NS)
    if phases.baseline_ns >= least_ns:
        return phases, tuple(notes)
    if form.baseline is not None:
        notes.append(
            f"baseline lengthened from {format_duration(phases.baseline_ns)} to {least_ns / SECOND:g}s: "
            f"{_BASELINE_ENVELOPES} envelopes or {format_duration(_BASELINE_NS)} are needed to know the pipeline"
        )
    return Phases(phases.warmup_ns, least_ns, phases.hold_ns), tuple(notes)


def _or(given_ns: int | None, default_ns: int) -> int:
    return default_ns if given_ns is None else given_ns
