"""Whether the recovery interval contains the truth: simulations of known recovery time, a thousand of each kind.

    python benchmarks/truth.py [seeds]

The simulations are those of the unit tests (tests/unit/simulated_recovery.py), with more seeds.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "unit"))

from simulated_recovery import check, simulate

KINDS = {
    "nobody stalls (width ≤ 100 ms)": (0, 0),
    "the judge's reader stalls": (4, 0),
    "the generator is late": (0, 2),
    "both": (3, 2),
}


def main() -> None:
    """Print one line a kind."""
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000
    for name, (stalls, late) in KINDS.items():
        held, widths, undecided = 0, [], 0
        for seed in range(seeds):
            simulated = simulate(seed, stalls=stalls, late=late)
            told = simulated.told()
            undecided += told["verdict"] == "INCONCLUSIVE"
            widths.append(float("inf") if told["high_ms"] is None else told["high_ms"] - told["low_ms"])
            try:
                check(simulated, narrow=not stalls and not late)
                held += 1
            except AssertionError as error:
                print(f"  seed {seed}: {told['low_ms']}..{told['high_ms']} {error}")
        widths.sort()
        middle, widest = widths[seeds // 2], widths[-1]
        print(f"{name:<32} held {held} of {seeds}, width median {middle:.1f} ms, max {widest:.1f} ms, {undecided} open")


if __name__ == "__main__":
    main()
