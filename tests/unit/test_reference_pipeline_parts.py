"""The parts of the reference pipeline that need no server."""

from __future__ import annotations

import logging
from decimal import Decimal

import pytest
from structlog.testing import CapturingLogger

from chaosd.target.reference.metrics import PipelineMetricsCollector
from chaosd.target.reference.noise import Noise, muffle_clients
from chaosd.target.reference.retry import Backoff, Retry
from chaosd.target.reference.settings import Settings, SettingsError
from chaosd.target.reference.state import RiskStateManager

ENVIRONMENT = {
    "KAFKA_BOOTSTRAP": "127.0.0.1:1",
    "REDIS_URL": "redis://127.0.0.1:2",
    "DATABASE_URL": "postgresql://127.0.0.1:3/p",
    "GROUP": "g",
    "INSTANCE": "g-0",
    "INPUT_TOPIC": "in",
    "OUTPUT_TOPIC": "out",
    "DLQ_TOPIC": "dlq",
}


def test_settings_come_from_the_environment():
    assert Settings.from_environment({**ENVIRONMENT, "OTHER": "1"}).input_topic == "in"


def test_settings_name_every_variable_that_is_missing():
    with pytest.raises(SettingsError, match="GROUP, DLQ_TOPIC"):
        Settings.from_environment(
            {name: value for name, value in ENVIRONMENT.items() if name not in {"GROUP", "DLQ_TOPIC"}}
        )


def test_backoff_doubles_up_to_its_cap():
    assert [Backoff(0.05, 0.5).pause_s(n) for n in (1, 2, 3, 4, 5, 1000)] == [0.05, 0.1, 0.2, 0.4, 0.5, 0.5]


async def test_a_transient_error_is_retried_until_it_is_done():
    log = CapturingLogger()
    left = [OSError("one"), TimeoutError("two")]

    async def attempt() -> str:
        if left:
            raise left.pop()
        return "done"

    retry = Retry(Noise(log), Backoff(0.001, 0.001))
    assert await retry.until_done("step", attempt, (OSError,)) == "done"
    assert [call.kwargs["error_class"] for call in log.calls] == ["builtins.TimeoutError", "builtins.OSError"]


async def test_an_error_that_is_not_transient_is_raised_at_once():
    calls = []

    async def attempt() -> None:
        calls.append(1)
        raise ValueError("bug")

    with pytest.raises(ValueError, match="bug"):
        await Retry(Noise(CapturingLogger())).until_done("step", attempt, (OSError,))
    assert len(calls) == 1


def test_noise_of_one_kind_is_said_once_a_second_and_other_kinds_at_once():
    log = CapturingLogger()
    noise = Noise(log)
    for _ in range(50):
        noise.failed("step", OSError("x"))
    noise.failed("other step", OSError("x"))
    assert [call.kwargs["step"] for call in log.calls] == ["step", "other step"]


def test_what_clients_log_goes_through_the_noise():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    log = CapturingLogger()
    try:
        muffle_clients(Noise(log))
        for _ in range(20):
            logging.getLogger("aiokafka.cluster").error("Unable to update metadata from %s", [0])
        logging.getLogger("aiokafka.cluster").info("joined")
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    assert [call.kwargs["message"] for call in log.calls] == ["Unable to update metadata from [0]"]


def test_metrics_count_and_remember_when():
    metrics = PipelineMetricsCollector()
    metrics.increment_count("records")
    metrics.increment_count("records", 4)
    metrics.set_last_activity_timestamp("poll", 12.5)
    assert metrics.counts() == {"records": 5}
    assert metrics.last_activity_s("poll") == 12.5
    assert metrics.last_activity_s("never") is None


def test_risk_state_of_an_unknown_symbol_is_empty():
    assert RiskStateManager().get_state("ACME").ticks == 0


def test_risk_state_takes_over_new_totals_and_ignores_older_ones():
    manager = RiskStateManager()
    manager.update_position("ACME", Decimal(7), Decimal("710.5"), 2)
    manager.update_position("ACME", Decimal(3), Decimal("304.5"), 1)
    assert manager.get_state("ACME").volume == 7
    assert not manager.get_state("ACME").over_limit


def test_risk_state_over_the_limit_says_so():
    assert RiskStateManager().update_position("ACME", Decimal(1), Decimal(10) ** 11, 1).over_limit
