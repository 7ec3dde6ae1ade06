"""The run as one picture: phases, faults and recoveries as lanes, the age curve, the throughput, on one time axis.

Pure text from numbers, coloured by the page's CSS classes, readable without colour by its labels and without any
script. Times are seconds since the start of the run, ages milliseconds. The age axis is logarithmic above about 10 ms:
both a baseline of 20 ms and an outage of 10 s must be readable.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, LEFT, RIGHT = 1080, 58, 14
PHASE_HEIGHT, LANE_HEIGHT, AGE_HEIGHT, RATE_HEIGHT = 22, 20, 250, 84
GAP, BOTTOM = 26, 26
_KNEE_MS = 10.0
_AGE_TICKS_MS = (0, 10, 50, 100, 500, 1000, 5000, 10_000, 60_000, 300_000)
_TIME_STEPS_S = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)
_LABEL_PX = 6.3  # mean width of a character at the labels' size
_LABEL_GAP_PX = 10
_ALT = "Age of the oldest due envelope and throughput over time, with faults and recoveries"


@dataclass(frozen=True, slots=True)
class Curve:
    """Age of the oldest due envelope of one result kind: lower and upper end at the same times, and its threshold θ."""

    label: str
    t_s: Sequence[float]
    low_ms: Sequence[float]
    high_ms: Sequence[float]
    threshold_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Band:
    """A span of time with a name. `kind` is a CSS class: phase, fault."""

    kind: str
    from_s: float
    until_s: float
    label: str


@dataclass(frozen=True, slots=True)
class Recovering:
    """A recovery on its lane: from the clear (`zero_s`), between low and high, within the limit; `high_s` None: no end
    was seen. `grade` is a CSS class: pass, inconclusive, fail.
    """

    zero_s: float
    low_s: float
    high_s: float | None
    limit_s: float
    label: str
    grade: str


@dataclass(frozen=True, slots=True)
class Rates:
    """Envelopes a second, sent and resulting, at the same times."""

    t_s: Sequence[float]
    sent: Sequence[float]
    results: Sequence[float]


@dataclass(frozen=True, slots=True)
class _Axes:
    until_s: float
    age_ms: float
    rate: float
    top: float  # of the age plot

    @property
    def age_base(self) -> float:
        return self.top + AGE_HEIGHT

    @property
    def rate_base(self) -> float:
        return self.age_base + GAP + RATE_HEIGHT

    def x(self, t_s: float) -> float:
        share = min(max(t_s / self.until_s, 0.0), 1.0)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(self, age_ms: float) -> float:
        share = math.log1p(min(max(age_ms, 0.0), self.age_ms) / _KNEE_MS) / math.log1p(self.age_ms / _KNEE_MS)
        return self.age_base - AGE_HEIGHT * share

    def y_rate(self, rate: float) -> float:
        return self.rate_base - RATE_HEIGHT * min(max(rate / self.rate, 0.0), 1.0)


def chart(
    curves: Sequence[Curve],
    faults: Sequence[Band],
    phases: Sequence[Band],
    recoveries: Sequence[Recovering],
    rates: Rates,
    until_s: float = 0.0,
) -> str:
    """The whole picture. `until_s` lengthens the time axis beyond what the values need."""
    ends = [band.until_s for band in (*faults, *phases)] + [t for curve in curves for t in curve.t_s[-1:]]
    span_s = max([*ends, *rates.t_s[-1:], until_s, 1.0])
    lanes: list[Sequence[Band | Recovering]] = [*_lanes(faults, span_s), *([one] for one in recoveries)]
    highest = max((age for curve in curves for age in curve.high_ms), default=0.0)
    thresholds = [curve.threshold_ms for curve in curves if curve.threshold_ms]
    axes = _Axes(
        until_s=span_s,
        age_ms=max(100.0, 1.25 * max([highest, *thresholds])),
        rate=max([*rates.sent, *rates.results, 1.0]) * 1.1,
        top=PHASE_HEIGHT + LANE_HEIGHT * len(lanes) + 10,
    )
    height = axes.rate_base + BOTTOM
    parts = [
        f'<svg class="chart" viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{_ALT}">',
        *_phases(axes, phases),
        *_shadows(axes, faults),
        *_grid(axes),
        *_lane_marks(axes, lanes),
        *_curves(axes, curves),
        *_rates(axes, rates),
        "</svg>",
    ]
    return "\n".join(parts)


def _lanes(faults: Sequence[Band], span_s: float) -> list[list[Band]]:
    """Put faults on as few lanes as their bars and labels allow."""
    axes = _Axes(span_s, 1.0, 1.0, 0.0)
    lanes: list[list[Band]] = []
    ends: list[float] = []
    for fault in sorted(faults, key=lambda band: (band.from_s, band.label)):
        x = axes.x(fault.from_s)
        end = max(axes.x(fault.until_s), x + 4) + len(fault.label) * _LABEL_PX + 2 * _LABEL_GAP_PX
        lane = next((n for n, taken in enumerate(ends) if taken <= x), len(lanes))
        if lane == len(lanes):
            lanes.append([])
            ends.append(0.0)
        lanes[lane].append(fault)
        ends[lane] = end
    return lanes


def _phases(axes: _Axes, phases: Sequence[Band]) -> Iterable[str]:
    for n, phase in enumerate(phases):
        x, end = axes.x(phase.from_s), axes.x(phase.until_s)
        kind, width = f"phase {'odd' if n % 2 else 'even'}", max(end - x, 0.5)
        place = f'x="{x:.1f}" y="0" width="{width:.1f}" height="{PHASE_HEIGHT - 4}"'
        yield f'<rect class="{kind}" {place}>{_title(phase)}</rect>'
        if end - x > len(phase.label) * _LABEL_PX + 6:
            yield f'<text class="phase mid" x="{(x + end) / 2:.1f}" y="{PHASE_HEIGHT - 9}">{escape(phase.label)}</text>'
        if n:
            yield f'<line class="phase" x1="{x:.1f}" x2="{x:.1f}" y1="{PHASE_HEIGHT - 4}" y2="{axes.rate_base:.1f}"/>'


def _shadows(axes: _Axes, faults: Sequence[Band]) -> Iterable[str]:
    """The faults' light bands behind both plots."""
    for fault in faults:
        x, end = axes.x(fault.from_s), axes.x(fault.until_s)
        yield (
            f'<rect class="shadow" x="{x:.1f}" y="{axes.top:.1f}" width="{max(end - x, 1.0):.1f}"'
            f' height="{axes.rate_base - axes.top:.1f}"/>'
        )


def _lane_marks(axes: _Axes, lanes: Sequence[Sequence[Band | Recovering]]) -> Iterable[str]:
    for number, lane in enumerate(lanes):
        y = PHASE_HEIGHT + LANE_HEIGHT * number
        for mark in lane:
            yield from _recovery(axes, mark, y) if isinstance(mark, Recovering) else _fault(axes, mark, y)


def _fault(axes: _Axes, fault: Band, y: float) -> Iterable[str]:
    x, end = axes.x(fault.from_s), axes.x(fault.until_s)
    end = max(end, x + 4)
    yield (
        f'<rect class="fault" x="{x:.1f}" y="{y + 2}" width="{end - x:.1f}" height="{LANE_HEIGHT - 6}" rx="2">'
        f"{_title(fault)}</rect>"
    )
    yield _beside(x, end, y, fault.label, "fault")


def _recovery(axes: _Axes, one: Recovering, y: float) -> Iterable[str]:
    """The limit as an outline, the certain part solid, the uncertain part pale; the clear as a line down the plot."""
    high_s = one.low_s if one.high_s is None else one.high_s
    x, low, high = (axes.x(one.zero_s + s) for s in (0.0, one.low_s, high_s))
    if one.high_s is None:
        high = axes.x(axes.until_s)
    limit = axes.x(one.zero_s + one.limit_s)
    top, thick = y + 4, LANE_HEIGHT - 10
    yield f'<line class="clear" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{axes.age_base:.1f}"/>'
    spans = ("limit", x, limit - x), (f"within {one.grade}", x, low - x), (f"perhaps {one.grade}", low, high - low)
    for kind, start, width in spans:
        yield f'<rect class="{kind}" x="{start:.1f}" y="{top}" width="{max(width, 1.0):.1f}" height="{thick}"/>'
    yield _beside(x, max(limit, high), y, one.label, "recovery")


def _beside(x: float, end: float, y: float, label: str, kind: str) -> str:
    """A label right of its bar, or left of it where it would leave the picture."""
    base = y + LANE_HEIGHT - 7
    if end + _LABEL_GAP_PX + len(label) * _LABEL_PX > WIDTH and x - LEFT > len(label) * _LABEL_PX:
        return f'<text class="{kind} end" x="{x - 5:.1f}" y="{base}">{escape(label)}</text>'
    return f'<text class="{kind}" x="{min(end, WIDTH - RIGHT) + 5:.1f}" y="{base}">{escape(label)}</text>'


def _title(band: Band) -> str:
    return f"<title>{escape(band.label)}: {band.from_s:.2f}–{band.until_s:.2f} s</title>"


def _grid(axes: _Axes) -> Iterable[str]:
    right = WIDTH - RIGHT
    for age in (tick for tick in _AGE_TICKS_MS if tick <= axes.age_ms):
        y = axes.y(age)
        label = f"{age // 1000} s" if age >= 1000 else f"{age} ms"
        yield f'<line class="grid{"" if age else " base"}" x1="{LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text class="axis end" x="{LEFT - 7}" y="{y + 4:.1f}">{label}</text>'
    for rate in (0.0, _round_rate(axes.rate)):
        y = axes.y_rate(rate)
        yield f'<line class="grid{"" if rate else " base"}" x1="{LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text class="axis end" x="{LEFT - 7}" y="{y + 4:.1f}">{rate:g}/s</text>'
    step = next((s for s in _TIME_STEPS_S if axes.until_s / s <= 14), _TIME_STEPS_S[-1])
    for n in range(int(axes.until_s // step) + 1):
        x = axes.x(n * step)
        yield f'<line class="tick" x1="{x:.1f}" x2="{x:.1f}" y1="{axes.rate_base:.1f}" y2="{axes.rate_base + 4:.1f}"/>'
        yield f'<text class="axis mid" x="{x:.1f}" y="{axes.rate_base + 18:.1f}">{n * step} s</text>'


def _round_rate(highest: float) -> float:
    """The largest of 1, 2, 5 · 10ⁿ that fits below."""
    power = 10.0 ** math.floor(math.log10(highest))
    return max(factor * power for factor in (1, 2, 5) if factor * power <= highest)


def _curves(axes: _Axes, curves: Sequence[Curve]) -> Iterable[str]:
    """The first curve is the one that matters most: it lies on top."""
    drawn = [(n, curve) for n, curve in enumerate(curves) if len(curve.t_s)]
    for n, curve in reversed(drawn):
        upper = [(axes.x(t), axes.y(age)) for t, age in zip(curve.t_s, curve.high_ms, strict=True)]
        lower = [(axes.x(t), axes.y(age)) for t, age in zip(curve.t_s, curve.low_ms, strict=True)]
        yield f'<polygon class="age-band k{n}" points="{_points([*upper, *reversed(lower)])}"/>'
        yield f'<polyline class="age k{n}" points="{_points(upper)}"/>'
    taken: list[float] = []
    for n, curve in drawn:
        if curve.threshold_ms is None:
            continue
        y = axes.y(curve.threshold_ms)
        label_y = y - 4
        while any(abs(label_y - other) < 13 for other in taken):
            label_y += 16
        taken.append(label_y)
        yield f'<line class="threshold k{n}" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        label = f"θ {escape(curve.label)} {curve.threshold_ms:.0f} ms"
        yield f'<text class="threshold k{n}" x="{LEFT + 5}" y="{label_y:.1f}">{label}</text>'


def _rates(axes: _Axes, rates: Rates) -> Iterable[str]:
    if not rates.t_s:
        return
    results, sent = (_steps(axes, rates.t_s, values) for values in (rates.results, rates.sent))
    ends = [(results[-1][0], axes.rate_base), (results[0][0], axes.rate_base)]
    yield f'<polygon class="rate results" points="{_points([*results, *ends])}"/>'
    yield f'<polyline class="rate sent" points="{_points(sent)}"/>'


def _steps(axes: _Axes, t_s: Sequence[float], values: Sequence[float]) -> list[tuple[float, float]]:
    """Each value as a level from its time to the next."""
    ends = [*t_s[1:], t_s[-1] + (t_s[-1] - t_s[-2] if len(t_s) > 1 else 1.0)]
    levels = zip(t_s, ends, values, strict=True)
    return [(axes.x(t), axes.y_rate(value)) for start, end, value in levels for t in (start, end)]


def _points(points: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
