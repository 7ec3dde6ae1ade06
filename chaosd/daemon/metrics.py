"""What Prometheus scrapes: few series, with names that say their unit. No label takes a value from outside."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from chaosd.healing.halt import halted

CONTENT_TYPE = CONTENT_TYPE_LATEST
_VERDICTS = ("PASS", "INCONCLUSIVE", "FAIL")
NO_VERDICT = "none"


class Metrics:
    """The daemon's own registry. Children are made once: `labels()` costs seven times what an `inc` costs."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        runs = Counter(
            "chaosd_runs", "Runs that ended, by verdict (none: no verdict)", ["verdict"], registry=self.registry
        )
        self._runs = {verdict: runs.labels(verdict) for verdict in (*_VERDICTS, NO_VERDICT)}
        self.running = Gauge("chaosd_run_running", "1 while a run is going on", registry=self.registry)
        self.waiting = Gauge("chaosd_runs_waiting", "Runs that are due and wait for their turn", registry=self.registry)
        self._halted = Gauge("chaosd_halted", "1 while `chaosd halt` lets no run begin", registry=self.registry)
        self._halted.set_function(lambda: float(halted() is not None))
        self.heal_failures = Counter("chaosd_heal_failures", "What could not be healed", registry=self.registry)
        self.ended = Gauge("chaosd_last_run_end_timestamp_seconds", "When the last run ended", registry=self.registry)
        self.exit = Gauge("chaosd_last_run_exit_code", "Exit code of the last run", registry=self.registry)
        self._low = Gauge(
            "chaosd_last_recovery_low_seconds",
            "Last recovery took at least this long; NaN: unknown",
            registry=self.registry,
        )
        self._high = Gauge(
            "chaosd_last_recovery_high_seconds",
            "Last recovery took at most this long; NaN: unknown",
            registry=self.registry,
        )
        self.recovery(None, None)

    def ran(self, verdict: str) -> None:
        """Count a run that ended."""
        self._runs[verdict if verdict in self._runs else NO_VERDICT].inc()

    def recovery(self, low_ms: float | None, high_ms: float | None) -> None:
        """Put down the last recovery, an interval in ms; None where an end of it is unknown."""
        self._low.set(float("nan") if low_ms is None else low_ms / 1e3)
        self._high.set(float("nan") if high_ms is None else high_ms / 1e3)

    def render(self) -> bytes:
        """The text that Prometheus reads."""
        return generate_latest(self.registry)
