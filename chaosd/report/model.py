"""The report of a run: what verdict.json (and, for its charts, picture.json) holds. Values only.

One definition has three uses: it is written as verdict.json, it is read back by `chaosd report`, and its JSON Schema is
generated from it. Everything in it follows from the journal alone: no time of judging, no path, no host.
"""

from __future__ import annotations

from typing import Any

import msgspec

from chaosd.kernel.errors import JournalError

FORMAT = 1


class Journal(msgspec.Struct, frozen=True, kw_only=True):
    """Which journal the verdict is about. `rows` are column rows; `torn` and `missing` name files."""

    hash: str
    sealed: bool
    rows: int
    torn: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One real part of the stack and where it came from."""

    version: str
    origin: str = ""


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """Under which circumstances the run took place. `started` is UTC in ISO 8601; `command` repeats the run."""

    description: str = ""
    tags: tuple[str, ...] = ()
    profile: str = ""
    started: str = ""
    duration_s: float | None = None
    rate_hz: float | None = None
    streams: int | None = None
    partitions: int | None = None
    target: str = ""
    stack: dict[str, Part] = {}
    command: str = ""
    expect: dict[str, Any] = {}
    aborted: str | None = None
    deaths: tuple[str, ...] = ()


class Envelopes(msgspec.Struct, frozen=True, kw_only=True):
    """The account of what was sent, and what it owed. `seen_*` count envelopes of which such a result was read."""

    sent: int = 0
    acked: int = 0
    rejected: int = 0
    indeterminate: int = 0
    expected_output: int = 0
    expected_dlq: int = 0
    seen_output: int = 0
    seen_dlq: int = 0


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One injection: what was asked, when it was done, what was measured. Times are the journal's monotonic ns.

    `bite`, `healed` and `exposed` (whether the target used what was hurt) are `proved`, `missing` or `unknown`.
    """

    id: str
    fault: str
    on: str
    injected_ns: tuple[int, int]
    healed_ns: tuple[int, int]
    bite: str
    healed: str
    evidence: dict[str, Any]
    exposed: str = ""
    state: str = ""
    params: dict[str, Any] = {}
    for_ns: int = 0
    healed_by: str = ""
    from_s: float | None = None
    until_s: float | None = None


class Recovery(msgspec.Struct, frozen=True, kw_only=True):
    """One episode of faults: the recovery time as an interval, its limit and threshold. None: unbounded or unknown."""

    fault: str
    low_ms: float
    high_ms: float | None
    limit_ms: float
    verdict: str
    threshold_ms: float
    reasons: tuple[str, ...] = ()
    injections: tuple[str, ...] = ()
    from_: str = msgspec.field(name="from", default="heal")
    first_result_ms: float | None = None
    detection_ms: float | None = None
    flaps: int = 0
    excess_ms_s: float | None = None
    throughput: dict[str, float | None] = {}
    headroom: dict[str, float] | None = None
    zero_s: float | None = None


class Witness(msgspec.Struct, frozen=True, kw_only=True):
    """One envelope or record that shows an anomaly, with its story: entries `{"at_ms": …, "what": …}`."""

    anomaly: str = msgspec.field(name="class")
    stream: int
    seq: int
    hop: str = ""
    detail: str = ""
    lifeline: tuple[dict[str, Any], ...] = ()


class Verifier(msgspec.Struct, frozen=True, kw_only=True):
    """What one verifier said. `source` is the SHA-256 of the file that judged."""

    name: str
    verdict: str
    reasons: tuple[str, ...]
    counts: dict[str, int]
    witnesses: tuple[Witness, ...]
    details: dict[str, Any] = {}
    source: str = ""


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """Anomalies planted in a copy of this history, and how many of them the verifiers noticed: class → (planted,
    noticed). `not_applicable` are classes without a place for a plant, `why` says why there is no certificate.
    """

    planted: int = 0
    noticed: int = 0
    by_class: dict[str, tuple[int, int]] = {}
    not_applicable: tuple[str, ...] = ()
    why: str = ""


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """Age of the oldest due envelope of one kind of result, at `Picture.t_s`, and its threshold θ, all ms."""

    kind: str
    low_ms: tuple[float, ...]
    high_ms: tuple[float, ...]
    threshold_ms: float | None = None


class Phase(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of the run, seconds since its start."""

    name: str
    from_s: float
    until_s: float


class Picture(msgspec.Struct, frozen=True, kw_only=True):
    """What the charts show, kept beside the verdict in picture.json.

    Times are seconds since the start of the run, rates those of the second that begins at `rate_t_s`.
    """

    until_s: float = 0.0
    t_s: tuple[float, ...] = ()
    curves: tuple[Curve, ...] = ()
    phases: tuple[Phase, ...] = ()
    rate_t_s: tuple[float, ...] = ()
    sent_hz: tuple[float, ...] = ()
    results_hz: tuple[float, ...] = ()


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """The failure that the experiment documents, and whether it is exactly what happened."""

    verdict: str
    classes: tuple[str, ...]
    why: str = ""
    matched: bool = False


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A judged run. Keys of verdict.json: those of docs and JSON Schema, in the order of the alphabet."""

    format: int = FORMAT
    chaosd: str
    run_id: str
    experiment: str
    title: str = ""
    seed: int
    verdict: str
    reasons: tuple[str, ...]
    exit: int
    journal: Journal
    setting: Setting = Setting()
    envelopes: Envelopes
    faults: tuple[Fault, ...]
    recovery: tuple[Recovery, ...]
    verifiers: tuple[Verifier, ...]
    certificate: Certificate
    known: Known | None = None


def encode(report: Report) -> bytes:
    """The bytes of verdict.json: the same for the same report, everywhere."""
    return msgspec.json.format(msgspec.json.encode(report, order="sorted"), indent=2) + b"\n"


def decode(data: bytes, name: str) -> Report:
    """Read verdict.json back; `name` is for the message. Raises JournalError when it is no such file."""
    try:
        return msgspec.json.decode(data, type=Report)
    except msgspec.DecodeError as error:
        raise JournalError(
            f"{name} is not a verdict of this chaosd: {error}", remedy="chaosd verify RUN_DIR"
        ) from error


def encode_picture(picture: Picture) -> bytes:
    """The bytes of picture.json."""
    return msgspec.json.encode(picture, order="sorted") + b"\n"


def decode_picture(data: bytes) -> Picture:
    """Read picture.json back; an empty picture where it is none, for a report can do without."""
    try:
        return msgspec.json.decode(data, type=Picture)
    except msgspec.DecodeError:
        return Picture()


def schema() -> dict[str, Any]:
    """JSON Schema of verdict.json."""
    return msgspec.json.schema(Report)
