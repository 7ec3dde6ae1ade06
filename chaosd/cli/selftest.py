"""`chaosd selftest`: puts the judge on trial with pipelines whose mistakes are known, on the real parts."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from chaosd.kernel.errors import Exit
    from chaosd.selftest.matrix import Case, Matrix
    from chaosd.selftest.outcome import Attempt
    from chaosd.selftest.results import Store
    from chaosd.selftest.session import Session

_REASONS_SHOWN = 3
_WIDTH = 180  # of the table where it is no terminal: in a log a line is a line


def selftest(
    only: Annotated[list[str] | None, typer.Option(metavar="NAME", help="this target; may be given again")] = None,
    profile: Annotated[str, typer.Option(help="quick: short phases; standard: as the experiments define")] = "quick",
    seed: Annotated[int | None, typer.Option(help="the same runs again")] = None,
    resume: Annotated[Path | None, typer.Option(metavar="FILE", help="go on with what an earlier one found")] = None,
    runs_dir: Annotated[Path, typer.Option(envvar="CHAOSD_RUNS", help="where run directories go")] = Path("runs"),
) -> int:
    """Run every broken pipeline that chaosd ships where it must fail, and the right one where it must pass.

    About half a minute for each run. Exit codes: 0 when every mistake is found for what it is and the right
    pipeline passes, 1 when the judge was wrong, 3 when something was not decided. Ctrl-C heals, keeps what was found,
    and exits 5.
    """
    from chaosd.experiment.spec import PROFILES
    from chaosd.kernel.errors import UsageError
    from chaosd.selftest import matrix as matrices
    from chaosd.selftest.results import Store

    matrix = matrices.load()
    cases = matrix.of(only or ())
    if resume is not None:
        store = Store.resume(resume, matrix)
    elif profile not in PROFILES:
        raise UsageError(f"there is no profile {profile!r}", remedy=f"one of: {', '.join(PROFILES)}")
    else:
        store = _new(matrix, runs_dir, profile, seed)
    code = asyncio.run(_run(cases, store, runs_dir))
    _show(cases, store)
    return int(code)


def _new(matrix: Matrix, runs_dir: Path, profile: str, seed: int | None) -> Store:
    import secrets

    from chaosd.journal.runs import new_run_id
    from chaosd.kernel.clock import SystemClock
    from chaosd.selftest.results import Store

    path = runs_dir / f"{new_run_id(SystemClock(), 'selftest')}.json"
    return Store.new(path, matrix, profile, secrets.randbits(32) if seed is None else seed)


async def _run(cases: Sequence[Case], store: Store, runs_dir: Path) -> Exit:
    """Run what is open; the exit code over all cases."""
    from chaosd.kernel.errors import Exit, RunAborted
    from chaosd.selftest.outcome import Outcome
    from chaosd.selftest.session import session

    left = [case for case in cases if store.open(case)]
    _say(f"{len(cases)} cases, {len(left)} to run; results in {store.path}")
    if left:
        try:
            async with session(runs_dir, store.results.profile) as bench:
                await _until_done(left, store, bench)
        except RunAborted:
            _say(f"interrupted; `chaosd selftest --resume {store.path}` goes on from here")
            return Exit.ABORTED
    outcomes = {store.outcome(case) for case in cases}
    if outcomes & {Outcome.MISSED, Outcome.ACCUSED}:
        return Exit.FAIL
    return Exit.PASS if outcomes <= {Outcome.RIGHT} else Exit.INCONCLUSIVE


async def _until_done(left: Sequence[Case], store: Store, bench: Session) -> None:
    asked, loop = asyncio.Event(), asyncio.get_running_loop()
    stopping = asyncio.create_task(_stop_when_asked(asked, bench), name="stop")
    for sig in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(sig, asked.set)
    try:
        for number, case in enumerate(left, 1):
            _say(f"[{number}/{len(left)}] {case.name} …")
            await _decide(case, store, bench)
    finally:
        stopping.cancel()
        for sig in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(sig)


async def _decide(case: Case, store: Store, bench: Session) -> None:
    """Try a case until it is decided, as often as it may be. A run without a verdict is not tried again today."""
    from chaosd.selftest.session import seed_of

    while store.open(case):
        attempt = await bench.run(case, seed_of(store.results.seed, case, len(store.attempts(case))), _ignore)
        store.add(case, attempt)
        _say(f"    {store.outcome(case)}: {_told(attempt)} ({attempt.took_s:.0f} s)")
        if not attempt.verdict:
            return


async def _stop_when_asked(asked: asyncio.Event, bench: Session) -> None:
    await asked.wait()
    _say("interrupted: healing what is broken, then ending the run")
    await bench.stop()


def _ignore(event: dict[str, Any]) -> None:
    """What happens inside a run is in its run directory."""


def _told(attempt: Attempt) -> str:
    """`FAIL LOST, STUCK`; without classes the first reasons; without a verdict why."""
    if not attempt.verdict:
        return attempt.error.partition("\n")[0] or "the run did not come to an end"
    what = attempt.classes or attempt.reasons[:_REASONS_SHOWN]
    return f"{attempt.verdict} {', '.join(what)}".rstrip()


def _show(cases: Sequence[Case], store: Store) -> None:
    from rich.console import Console
    from rich.table import Table

    from chaosd.kernel.verdict import Grade
    from chaosd.selftest.outcome import Outcome

    console = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH)
    table = Table(box=None, pad_edge=False)
    for column in ("target", "experiment", "expected", "found", "allowed duplicates", "outcome"):
        table.add_column(column, justify="right" if column == "allowed duplicates" else "left")
    for case in cases:
        attempts, outcome = store.tried(case), store.outcome(case)
        found = "; ".join(map(_told, attempts)) or "–"
        duplicates = str(attempts[-1].duplicates_allowed) if attempts else ""
        expected = f"{case.verdict.name} {', '.join(case.must)}".rstrip()
        style = "" if outcome is Outcome.RIGHT else "bold red" if outcome else "dim"
        table.add_row(case.target, case.experiment, expected, found, duplicates, str(outcome or "not run"), style=style)
    console.print(table)
    mutants = [case for case in cases if case.verdict is not Grade.PASS]
    caught = sum(store.outcome(case) is Outcome.RIGHT for case in mutants)
    plain = [case for case in cases if case.verdict is Grade.PASS]
    passed = sum(store.outcome(case) is Outcome.RIGHT for case in plain)
    console.print(f"\n{caught} of {len(mutants)} mutants found for what they are")
    console.print(f"{passed} of {len(plain)} experiments passed by the right pipeline")
    console.print(f"results: {store.path}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
