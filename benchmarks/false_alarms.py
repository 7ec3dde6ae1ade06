"""False alarms: the reference pipeline in every experiment, with many seeds. Each FAIL is a mistake of the judge.

    python benchmarks/false_alarms.py                       # shows what was found so far
    python benchmarks/false_alarms.py run --minutes 60      # goes on, at most that long

Twelve experiments with 20 seeds each and the others with 3, seed by seed, in the quick profile on one kept testbed:
several hours in all. What is found is kept in benchmarks/results/ after every run, a line for each experiment and seed:
verdict, reasons and seconds of every try; Ctrl-C heals and keeps it too. No run is begun that would not end in time. A
run that is undecided for reasons of the environment alone is tried again, three times in all.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import statistics
import subprocess
import time
from collections import Counter
from pathlib import Path

import msgspec

from chaosd.experiment.parse import all_bundled, in_lab
from chaosd.kernel.errors import RunAborted
from chaosd.kernel.verdict import Grade
from chaosd.selftest.matrix import Case
from chaosd.selftest.outcome import Attempt, again
from chaosd.selftest.session import Session, seed_of, session

NAMED = (
    "redis-latency", "redis-down", "redis-restart", "kafka-latency", "kafka-bandwidth", "kafka-broker-restart",
    "kafka-broker-kill", "postgres-latency", "postgres-reset", "postgres-restart", "poison-burst", "everything-at-once",
)  # fmt: skip
SEEDS_NAMED, SEEDS_OTHERS = 20, 3
RESULTS = Path(__file__).resolve().parent / "results" / "false_alarms.json"
PROFILE = "quick"
# What a run takes where none of its experiment is known yet; the first one makes the testbed as well.
_EXPECTED_S = 60.0


class Sample(msgspec.Struct, frozen=True):
    """One experiment with one seed: its tries, and the commit of chaosd that was on trial."""

    experiment: str
    number: int
    commit: str
    tries: tuple[Attempt, ...]


def plan() -> list[tuple[Case, int]]:
    """What is to be run, in its order: every experiment with the first seed, then with the next."""
    names = [name for name, path in all_bundled().items() if not in_lab(path)]
    wanted = {name: SEEDS_NAMED if name in NAMED else SEEDS_OTHERS for name in names}
    return [
        (Case("reference", name, Grade.PASS), number)
        for number in range(1, SEEDS_NAMED + 1)
        for name in names
        if number <= wanted[name]
    ]


def load() -> dict[tuple[str, int], Sample]:
    """What was found so far."""
    if not RESULTS.exists():
        return {}
    samples = msgspec.json.decode(RESULTS.read_bytes(), type=list[Sample])
    return {(sample.experiment, sample.number): sample for sample in samples}


def save(samples: dict[tuple[str, int], Sample]) -> None:
    """Write it down, whole or not at all."""
    RESULTS.parent.mkdir(exist_ok=True)
    beside = RESULTS.with_suffix(".part")
    ordered = sorted(samples.values(), key=lambda sample: (sample.experiment, sample.number))
    beside.write_bytes(b"[\n" + b",\n".join(map(msgspec.json.encode, ordered)) + b"\n]\n")
    beside.replace(RESULTS)


async def run(minutes: float, runs_dir: Path, commit: str) -> None:
    """Go on until all is done, the time is up, or Ctrl-C."""
    samples, ends = load(), time.monotonic() + 60 * minutes
    left = [(case, number) for case, number in plan() if (case.experiment, number) not in samples]
    asked, loop = asyncio.Event(), asyncio.get_running_loop()
    async with session(runs_dir, PROFILE) as bench:
        loop.add_signal_handler(signal.SIGINT, asked.set)
        stopping = asyncio.create_task(_stop(asked, bench))
        try:
            for case, number in left:
                tries: list[Attempt] = []
                while again(case, tries) and time.monotonic() + _takes_s(case, samples) < ends:
                    tries.append(await bench.run(case, seed_of(number, case, len(tries)), lambda event: None))
                    _tell(case, number, tries[-1])
                if not tries or again(case, tries):
                    print("the time is up")
                    break
                if tries[-1].verdict:
                    samples[case.experiment, number] = Sample(case.experiment, number, commit, tuple(tries))
                    save(samples)
        except RunAborted:
            print("interrupted")
        finally:
            stopping.cancel()


def _takes_s(case: Case, samples: dict[tuple[str, int], Sample]) -> float:
    """The longest run of this experiment so far."""
    own = [sample for sample in samples.values() if sample.experiment == case.experiment]
    return max((one.took_s for sample in own for one in sample.tries), default=_EXPECTED_S)


def _tell(case: Case, number: int, last: Attempt) -> None:
    what = last.verdict or f"no verdict: {last.error}"
    print(f"{case.experiment} {number}: {what} {' '.join(last.reasons)} {last.took_s:.0f} s", flush=True)


async def _stop(asked: asyncio.Event, bench: Session) -> None:
    await asked.wait()
    await bench.stop()


def show(samples: dict[tuple[str, int], Sample]) -> None:
    """The table: the last try of each seed, and how many needed more than one."""
    wanted = Counter(case.experiment for case, _ in plan())
    heads = ("seeds", "PASS", "FAIL", "INCONCLUSIVE", "tried again", "allowed duplicates", "median s")
    width = max(map(len, wanted))
    print(f"{'experiment':<{width}}" + "".join(f"{head:>20}" for head in heads))
    for name in sorted(wanted, key=lambda name: (name not in NAMED, name)):
        own = [sample for sample in samples.values() if sample.experiment == name]
        last = Counter(sample.tries[-1].verdict for sample in own)
        duplicates = sum(one.duplicates_allowed for sample in own for one in sample.tries)
        took = f"{statistics.median(one.took_s for s in own for one in s.tries):.0f}" if own else "–"
        again_ = sum(len(sample.tries) > 1 for sample in own)
        cells = (
            f"{len(own)}/{wanted[name]}",
            last["PASS"],
            last["FAIL"],
            last["INCONCLUSIVE"],
            again_,
            duplicates,
            took,
        )
        print(f"{name:<{width}}" + "".join(f"{cell:>20}" for cell in cells))
    whole = Counter(sample.tries[-1].verdict for sample in samples.values())
    grades = ", ".join(f"{whole[grade.name]} {grade.name}" for grade in Grade)
    print(f"\n{len(samples)} of {sum(wanted.values())} runs: {grades}; hold: no FAIL")
    for sample in samples.values():
        if sample.tries[-1].verdict != "PASS":
            print(f"  {sample.experiment} {sample.number}: {sample.tries[-1].verdict} {sample.tries[-1].reasons}")


def main() -> None:
    """Show, or run and show."""
    told = argparse.ArgumentParser(description="The reference pipeline in every experiment, with many seeds.")
    told.add_argument("what", nargs="?", choices=("show", "run"), default="show")
    told.add_argument("--minutes", type=float, default=60.0, help="go on for at most that long")
    asked = told.parse_args()
    if asked.what == "run":
        git = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
        commit = subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
        asyncio.run(run(asked.minutes, Path("runs") / "false-alarms", commit))
    show(load())


if __name__ == "__main__":
    main()
