"""The baseline of a kept testbed: measured once by the judge, used by later runs while nothing has changed.

It holds for the same processes of stack and target under the same load. What else could change (another load on the
machine) is seen by every run in a short check of its own, which the judge compares.
"""

from __future__ import annotations

from typing import Any

from chaosd.conductor.context import Context
from chaosd.process.spawn import Handle
from chaosd.testbed.testbed import Testbed

_KEY = "baseline"


class Baselines:
    """The kept baseline of one run's testbed, as it is when the run begins."""

    def __init__(self, context: Context) -> None:
        self._context = context
        record = context.testbed.record
        # A pipeline that chaosd did not start may be another one in the next run, and nobody would know.
        self._kept = record.kept and bool(record.replicas)
        self._holds_for = _holds_for(context)

    def known(self) -> dict[str, Any] | None:
        """The baseline of an earlier run that still holds, None when there is none."""
        kept = self._context.testbed.record.extra.get(_KEY)
        if kept is None or not self._kept or kept["holds_for"] != self._holds_for:
            return None
        return {"run_id": kept["run_id"], "kinds": kept["kinds"]}

    def remember(self, kinds: dict[str, Any]) -> None:
        """Keep what the judge says was measured, when the testbed stays and the run restarted nothing of it."""
        if not (self._kept and kinds):
            return
        testbed = self._context.testbed
        if self.known() is None and self._holds_for == _holds_for(self._context):
            kept = {"run_id": self._context.run_id, "kinds": kinds, "holds_for": self._holds_for}
            testbed.keep(_KEY, kept)


def _holds_for(context: Context) -> dict[str, Any]:
    traffic = context.experiment.traffic
    return {
        "rate_hz": traffic.rate_hz,
        "streams": traffic.streams,
        "poison": [[kind, share] for kind, share in traffic.poison],
        "processes": [_told(context.testbed, process) for process in context.testbed.processes],
    }


def _told(testbed: Testbed, process: str) -> list[int]:
    handle: Handle | None = testbed.handle(process)
    return [handle.pid, handle.started] if handle is not None else []
