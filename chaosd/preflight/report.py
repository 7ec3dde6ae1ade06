"""What a preflight gives, and what it may be asked to hold the source against; quick to import, unlike the analysis."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from chaosd.kernel.finding import Finding

UNUSED = "unused-suppression"
EVOLVED = "schema-evolution"
TIER2_ATTRIBUTE, TIER2_BYTES = "tier2-attribute", "tier2-bytes"
OPTIONAL = frozenset({EVOLVED, TIER2_ATTRIBUTE, TIER2_BYTES})  # rules that are not applied unless asked for
DIRECTIONS = {"backward": ("backward",), "forward": ("forward",), "full": ("backward", "forward")}


@dataclass(frozen=True, slots=True)
class Report:
    """What one preflight saw.

    `files` were asked for and parsed, `unparsed` were asked for and could not be; of the `calls` in them,
    `calls_resolved` have a callee that is known. `findings` are sorted by place.
    """

    root: Path
    files: int
    unparsed: int
    calls: int
    calls_resolved: int
    findings: tuple[Finding, ...]

    @property
    def clean(self) -> bool:
        """Nothing found, and nothing left out: a partial analysis is never clean."""
        return not self.findings and not self.unparsed


@dataclass(frozen=True, slots=True)
class Evolution:
    """What the models of today are held against: the snapshots of a folder, in the directions of `mode`, and events.

    `events` are files of recorded events; golden ones are the `*.jsonl` of the snapshots' folder.
    """

    folder: Path
    mode: str = "backward"
    with_replay: bool = True
    events: tuple[Path, ...] = ()

    def event_files(self) -> tuple[Path, ...]:
        """Recorded events first, then golden ones."""
        return (*self.events, *sorted(self.folder.glob("*.jsonl")))
