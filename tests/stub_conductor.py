"""A stub that speaks like a conductor: `python stub_conductor.py BEHAVIOUR RUN_DIR`. It breaks and starts nothing."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

BEHAVIOUR, RUN_DIR = sys.argv[1], sys.argv[2]


def say(**event: object) -> None:
    print(json.dumps(event), flush=True)


def verdict(word: str, code: int) -> None:
    say(event="verdict", verdict=word, reasons=[], exit=code, run_dir=RUN_DIR, report=f"{RUN_DIR}/report.html")


def command() -> dict:
    line = sys.stdin.readline()
    return json.loads(line) if line else {"cmd": "abort", "reason": "end of input"}


def main() -> int:
    request = command()
    assert request["cmd"] == "run"
    if BEHAVIOUR == "die_at_once":
        print("a bad start", file=sys.stderr, flush=True)
        return 70
    if BEHAVIOUR == "refuse":
        say(event="error", message="halted", remedy="chaosd resume", detail="since noon", exit=2)
        return 2
    say(event="run", run_id=Path(RUN_DIR).name, run_dir=RUN_DIR, experiment=request["experiment"])
    say(event="phase", name="faults", text="hurting")
    if BEHAVIOUR == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if BEHAVIOUR == "wait_for_abort":
        say(event="note", text="ready to be interrupted")
        reason = command()["reason"]
        say(event="note", text=f"told: {reason}")
        verdict("INCONCLUSIVE", 3)
        return 5
    if BEHAVIOUR == "unhealed":
        verdict("PASS", 0)
        say(event="error", message="not healed: latency", remedy="chaosd heal", detail="", exit=6)
        return 6
    if BEHAVIOUR == "break_at_the_end":
        verdict("PASS", 0)
        print("a late mistake", file=sys.stderr, flush=True)
        return 5
    word, code = {"pass": ("PASS", 0), "fail": ("FAIL", 1)}[BEHAVIOUR]
    verdict(word, code)
    return code


if __name__ == "__main__":
    sys.exit(main())
