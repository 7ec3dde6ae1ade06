"""What the daemon remembers across restarts: its runs with their verdicts, and how each schedule last ended. SQLite."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from chaosd.kernel.errors import JournalError, UsageError

FILE = "daemon.sqlite"
_BUSY_S = 5.0
# One entry per version of the format; `user_version` counts the entries that a database has had.
MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE runs (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        schedule TEXT NOT NULL, experiment TEXT NOT NULL,
        run_id TEXT NOT NULL DEFAULT '', run_dir TEXT NOT NULL DEFAULT '',
        started_wall_ns INTEGER NOT NULL, ended_wall_ns INTEGER,
        verdict TEXT NOT NULL DEFAULT '', exit INTEGER, reasons TEXT NOT NULL DEFAULT '[]',
        recovery_low_ms REAL, recovery_high_ms REAL, error TEXT NOT NULL DEFAULT ''
    );
    CREATE INDEX runs_by_run_id ON runs (run_id);
    CREATE TABLE schedules (
        name TEXT PRIMARY KEY, run INTEGER NOT NULL, verdict TEXT NOT NULL, exit INTEGER NOT NULL,
        ended_wall_ns INTEGER NOT NULL, failed_in_a_row INTEGER NOT NULL
    );
    """,
)
_ABORTED = 5
_UNNAMED_MAX = 1_000


@dataclass(frozen=True, slots=True)
class StoredRun:
    """One run of the daemon. `verdict` is empty while it runs and where there is none, `exit` None while it runs."""

    id: int
    schedule: str
    experiment: str
    run_id: str
    run_dir: str
    started_wall_ns: int
    ended_wall_ns: int | None
    verdict: str
    exit: int | None
    reasons: tuple[str, ...]
    recovery_low_ms: float | None
    recovery_high_ms: float | None
    error: str


@dataclass(frozen=True, slots=True)
class Result:
    """What is put down at the end of a run. Recovery: the slowest of the run's episodes, None where unknown."""

    ended_wall_ns: int
    verdict: str
    exit: int
    reasons: tuple[str, ...] = ()
    recovery_low_ms: float | None = None
    recovery_high_ms: float | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class LastResult:
    """How a schedule last ended. `failed_in_a_row` counts the ends with an exit code other than 0."""

    name: str
    run: int
    verdict: str
    exit: int
    ended_wall_ns: int
    failed_in_a_row: int


class Store:
    """The database, for one daemon and one thread."""

    def __init__(self, path: Path) -> None:
        """Open it, make it where it is not there, and bring it up to date.

        Raises JournalError when that cannot be, UsageError when a newer chaosd wrote it.
        """
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._migrate()
        except (OSError, sqlite3.Error) as error:
            raise JournalError(f"the daemon's database {path} cannot be used: {error}") from error

    def _migrate(self) -> None:
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version > len(MIGRATIONS):
            self._db.close()
            raise UsageError(f"{self._path} was written by a newer chaosd", remedy="use that one, or another runs_dir")
        for number, script in enumerate(MIGRATIONS[version:], version + 1):
            self._db.executescript(f"BEGIN; {script} PRAGMA user_version = {number}; COMMIT;")

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def begin(self, schedule: str, experiment: str, started_wall_ns: int) -> int:
        """A run begins; gives its number."""
        row = self._db.execute(
            "INSERT INTO runs (schedule, experiment, started_wall_ns) VALUES (?, ?, ?)",
            (schedule, experiment, started_wall_ns),
        )
        return int(row.lastrowid or 0)

    def name(self, number: int, run_id: str, run_dir: str) -> None:
        """The conductor has named the run."""
        self._db.execute("UPDATE runs SET run_id = ?, run_dir = ? WHERE id = ?", (run_id, run_dir, number))

    def end(self, number: int, result: Result) -> None:
        """A run has ended: put its result down, and the schedule's."""
        self._db.execute("BEGIN")
        try:
            self._db.execute(
                "UPDATE runs SET ended_wall_ns = ?, verdict = ?, exit = ?, reasons = ?, recovery_low_ms = ?,"
                " recovery_high_ms = ?, error = ? WHERE id = ?",
                (
                    result.ended_wall_ns, result.verdict, result.exit, json.dumps(result.reasons),
                    result.recovery_low_ms, result.recovery_high_ms, result.error, number,
                ),
            )  # fmt: skip
            self._db.execute(
                "INSERT INTO schedules SELECT schedule, id, verdict, exit, ended_wall_ns, exit <> 0 FROM runs"
                " WHERE id = ? ON CONFLICT (name) DO UPDATE SET run = excluded.run, verdict = excluded.verdict,"
                " exit = excluded.exit, ended_wall_ns = excluded.ended_wall_ns,"
                " failed_in_a_row = CASE WHEN excluded.exit = 0 THEN 0 ELSE failed_in_a_row + 1 END",
                (number,),
            )
        except sqlite3.Error:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def abandon(self, ended_wall_ns: int) -> int:
        """Runs that never ended belong to a daemon that died: put that down. Gives how many."""
        text = "the daemon died during this run"
        done = self._db.execute(
            "UPDATE runs SET ended_wall_ns = ?, exit = ?, error = ? WHERE exit IS NULL", (ended_wall_ns, _ABORTED, text)
        )
        return done.rowcount

    def runs(self, limit: int) -> list[StoredRun]:
        """The newest runs, newest first."""
        return self._select("ORDER BY id DESC LIMIT ?", (limit,))

    def run(self, run_id: str) -> StoredRun | None:
        """One run by its run id."""
        return next(iter(self._select("WHERE run_id = ?", (run_id,))), None)

    def forget(self, run_ids: Sequence[str]) -> None:
        """Delete runs, whose directories are gone, and all but the newest of those that never had one."""
        self._db.executemany("DELETE FROM runs WHERE run_id = ?", [(run_id,) for run_id in run_ids])
        self._db.execute(
            "DELETE FROM runs WHERE run_id = '' AND exit IS NOT NULL AND id <= (SELECT max(id) FROM runs) - ?",
            (_UNNAMED_MAX,),
        )

    def schedules(self) -> dict[str, LastResult]:
        """How each schedule last ended, by name."""
        rows = self._db.execute("SELECT name, run, verdict, exit, ended_wall_ns, failed_in_a_row FROM schedules")
        return {row[0]: LastResult(*row) for row in rows}

    def _select(self, rest: str, values: tuple[object, ...]) -> list[StoredRun]:
        # `rest` is one of this class's own texts.
        rows = self._db.execute(
            "SELECT id, schedule, experiment, run_id, run_dir, started_wall_ns, ended_wall_ns, verdict, exit, reasons,"  # noqa: S608
            f" recovery_low_ms, recovery_high_ms, error FROM runs {rest}",
            values,
        )
        rows.row_factory = sqlite3.Row
        return [StoredRun(**{**dict(row), "reasons": tuple(json.loads(row["reasons"]))}) for row in rows]
