"""The daemon's database, and the figures it gives to Prometheus."""

from __future__ import annotations

import sqlite3

import pytest

from chaosd.daemon import store as stores
from chaosd.daemon.metrics import Metrics
from chaosd.daemon.store import Result, Store
from chaosd.kernel.errors import JournalError, UsageError


@pytest.fixture
def store(tmp_path):
    opened = Store(tmp_path / "daemon.sqlite")
    yield opened
    opened.close()


def test_a_run_is_kept_with_its_result(store):
    number = store.begin("nightly", "redis-latency", 100)
    store.name(number, "run-1", "/runs/run-1")
    assert store.run("run-1").exit is None
    store.end(number, Result(200, "FAIL", 1, ("no_loss:LOST",), 10.0, None, "x"))
    (kept,) = store.runs(10)
    assert kept == store.run("run-1")
    assert (kept.schedule, kept.experiment, kept.started_wall_ns, kept.ended_wall_ns) == (
        "nightly",
        "redis-latency",
        100,
        200,
    )
    assert (kept.verdict, kept.exit, kept.reasons) == ("FAIL", 1, ("no_loss:LOST",))
    assert (kept.recovery_low_ms, kept.recovery_high_ms, kept.error) == (10.0, None, "x")
    assert store.run("run-2") is None


def test_newest_runs_come_first_and_the_list_is_bounded(store):
    for n in range(5):
        store.name(store.begin("a", "b", n), f"run-{n}", "")
    assert [run.run_id for run in store.runs(2)] == ["run-4", "run-3"]


def test_a_schedule_counts_its_failures_in_a_row_until_it_passes(store):
    counts = []
    for code in (1, 3, 0, 1):
        store.end(store.begin("nightly", "x", 0), Result(1, "", code))
        counts.append(store.schedules()["nightly"].failed_in_a_row)
    assert counts == [1, 2, 0, 1]
    assert "other" not in store.schedules()


def test_a_run_that_never_ended_is_put_down_as_aborted_at_the_next_start(store):
    done, open_ = store.begin("a", "x", 0), store.begin("a", "x", 1)
    store.end(done, Result(2, "PASS", 0))
    assert store.abandon(9) == 1
    newest, oldest = store.runs(2)
    assert (newest.id, newest.exit, newest.ended_wall_ns, newest.error) == (
        open_,
        5,
        9,
        "the daemon died during this run",
    )
    assert oldest.exit == 0
    assert store.abandon(10) == 0


def test_what_is_forgotten_is_gone(store):
    store.name(store.begin("a", "x", 0), "run-1", "")
    store.forget(["run-1", "run-2"])
    assert store.runs(10) == []


def test_runs_that_never_had_a_name_are_bounded(store, monkeypatch):
    monkeypatch.setattr(stores, "_UNNAMED_MAX", 2)
    for n in range(4):
        store.end(store.begin("a", "x", n), Result(n, "", 2))
    store.name(store.begin("a", "x", 4), "run-1", "")
    store.forget([])
    assert [run.started_wall_ns for run in store.runs(10)] == [4, 3]


def test_the_database_survives_its_daemon(tmp_path):
    first = Store(tmp_path / "a" / "daemon.sqlite")
    first.name(first.begin("a", "x", 0), "run-1", "")
    first.close()
    second = Store(tmp_path / "a" / "daemon.sqlite")
    assert second.run("run-1") is not None
    second.close()


def test_an_older_database_is_brought_up_to_date_and_keeps_its_rows(tmp_path, monkeypatch):
    old = Store(tmp_path / "daemon.sqlite")
    old.name(old.begin("a", "x", 0), "run-1", "")
    old.close()
    monkeypatch.setattr(
        stores, "MIGRATIONS", (*stores.MIGRATIONS, "ALTER TABLE runs ADD COLUMN planted TEXT DEFAULT 'new';")
    )
    newer = Store(tmp_path / "daemon.sqlite")
    assert newer._db.execute("SELECT run_id, planted FROM runs").fetchall() == [("run-1", "new")]
    assert newer._db.execute("PRAGMA user_version").fetchone() == (2,)
    newer.close()


def test_a_newer_database_is_refused(tmp_path):
    Store(tmp_path / "daemon.sqlite").close()
    database = sqlite3.connect(tmp_path / "daemon.sqlite")
    database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(UsageError, match="newer chaosd"):
        Store(tmp_path / "daemon.sqlite")


def test_a_file_that_is_no_database_is_told(tmp_path):
    (tmp_path / "daemon.sqlite").write_text("this is no database, whatever its name says\n" * 50, encoding="utf-8")
    with pytest.raises(JournalError, match="cannot be used"):
        Store(tmp_path / "daemon.sqlite")


def samples(metrics: Metrics) -> list[str]:
    return [
        line for line in metrics.render().decode().splitlines() if not line.startswith("#") and "_created" not in line
    ]


def test_runs_are_counted_by_verdict():
    metrics = Metrics()
    for verdict in ("PASS", "PASS", "FAIL", ""):
        metrics.ran(verdict)
    assert samples(metrics)[:4] == [
        'chaosd_runs_total{verdict="PASS"} 2.0',
        'chaosd_runs_total{verdict="INCONCLUSIVE"} 0.0',
        'chaosd_runs_total{verdict="FAIL"} 1.0',
        'chaosd_runs_total{verdict="none"} 1.0',
    ]


def test_a_verdict_from_outside_makes_no_series_of_its_own():
    metrics = Metrics()
    metrics.ran("made-up")
    assert "made-up" not in "\n".join(samples(metrics))


def test_recovery_is_an_interval_in_seconds_and_unknown_ends_are_nan():
    metrics = Metrics()
    assert "chaosd_last_recovery_high_seconds NaN" in samples(metrics)
    metrics.recovery(250.0, 1500.0)
    assert {"chaosd_last_recovery_low_seconds 0.25", "chaosd_last_recovery_high_seconds 1.5"} <= set(samples(metrics))
    metrics.recovery(250.0, None)
    assert "chaosd_last_recovery_high_seconds NaN" in samples(metrics)


def test_two_daemons_in_one_process_have_figures_of_their_own():
    first, second = Metrics(), Metrics()
    first.ran("PASS")
    assert 'chaosd_runs_total{verdict="PASS"} 0.0' in samples(second)
