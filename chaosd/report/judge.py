"""The judge: a process that reads one run directory and leaves verdict.json, picture.json and report.html in it.

Same journal, same verifiers, same bytes of verdict.json: what the judging itself took is in judge-timing.json. The
verifiers that judge first are copied into the run directory, and judge it again wherever it is taken.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chaosd.journal import history
from chaosd.kernel.bundled import bundled
from chaosd.kernel.clock import MS, Clock, SystemClock
from chaosd.kernel.errors import ChaosdError, Exit, JournalError
from chaosd.report import html, model, picture
from chaosd.report.build import build
from chaosd.verification import loading
from chaosd.verification.compose import judge

VERDICT, PICTURE, PAGE, TIMING = "verdict.json", "picture.json", "report.html", "judge-timing.json"
VERIFIERS = "verifiers"


@dataclass(frozen=True, slots=True)
class Judged:
    """A judged run directory. `own` tells whether the verifiers were those of this installation.

    `baseline` is what the run measured of its pipeline without a fault, by kind of result: the next run on the same
    testbed may use it.
    """

    run_dir: Path
    report: model.Report
    picture: model.Picture
    own: bool
    baseline: dict[str, Any]

    @property
    def exit(self) -> Exit:
        """The exit code that the verdict and the experiment's `known` section ask for."""
        return Exit(self.report.exit)

    def event(self) -> dict[str, Any]:
        """What a surface is told."""
        return {
            "event": "verdict",
            "run_id": self.report.run_id,
            "experiment": self.report.experiment,
            "verdict": self.report.verdict,
            "reasons": list(self.report.reasons),
            "exit": self.report.exit,
            "run_dir": str(self.run_dir),
            "report": str(self.run_dir / PAGE),
            "baseline": self.baseline,
        }


def judge_run(
    run_dir: Path, *, write: bool = True, verifiers: Path | None = None, clock: Clock | None = None
) -> Judged:
    """Judge a run directory, and with `write` leave the verdict and the report in it.

    `verifiers` is a folder of them; by default those stored in the run directory, or the bundled ones where there are
    none. What is torn or missing is in the verdict. Raises UsageError for a folder that is no run or a verifier that
    cannot be loaded, JournalError when the results cannot be written.
    """
    clock = clock or SystemClock()
    times = [clock.now_ns()]
    stored = run_dir / VERIFIERS
    folder = verifiers or (stored if stored.is_dir() else bundled(VERIFIERS))
    loaded = history.load(run_dir)
    sources = loading.load(folder)
    times.append(clock.now_ns())
    judgement = judge(loaded, [source.verifier for source in sources])
    times.append(clock.now_ns())
    details = next((verdict.details for verdict in judgement.verdicts if verdict.verifier == "recovery"), {})
    seen = picture.look(loaded, details.get("baseline", {}))
    built = build(judgement, seen, {source.verifier.name: source.sha256 for source in sources})
    # What is shown is what is stored, down to the order of the evidence: a page made later is the same.
    report = model.decode(model.encode(built), VERDICT)
    judged = Judged(run_dir, report, seen.picture, own=_same(sources), baseline=details.get("baseline", {}))
    if write:
        _write(judged, sources, times, clock)
    return judged


def stored_picture(run_dir: Path) -> model.Picture:
    """The numbers of the charts of a judged run; an empty picture when there are none."""
    path = run_dir / PICTURE
    return model.decode_picture(path.read_bytes()) if path.is_file() else model.Picture()


def _same(sources: Sequence[loading.Source]) -> bool:
    home = bundled(VERIFIERS)
    return all((home / s.path.name).is_file() and (home / s.path.name).read_bytes() == s.text for s in sources)


def _write(judged: Judged, sources: Sequence[loading.Source], times: list[int], clock: Clock) -> None:
    run_dir = judged.run_dir
    try:
        _keep(run_dir, sources)
        _replace(run_dir / VERDICT, model.encode(judged.report))
        _replace(run_dir / PICTURE, model.encode_picture(judged.picture))
        _replace(run_dir / PAGE, html.render(judged.report, judged.picture).encode())
        times.append(clock.now_ns())
        took = {name: (after - before) / MS for name, before, after in zip(_STEPS, times, times[1:], strict=False)}
        _replace(run_dir / TIMING, json.dumps(took).encode())
    except OSError as error:
        raise JournalError(f"cannot write the verdict into {run_dir}: {error.strerror}") from error


_STEPS = ("load_ms", "judge_ms", "report_ms")


def _keep(run_dir: Path, sources: Sequence[loading.Source]) -> None:
    """Copy the verifiers that judged into the run directory, all of them or none."""
    kept = run_dir / VERIFIERS
    if sources[0].path.parent == kept:
        return
    half = run_dir / f".{VERIFIERS}-{os.getpid()}"
    half.mkdir()
    for source in sources:
        (half / source.path.name).write_bytes(source.text)
    if kept.exists():  # others judge it from now on
        shutil.rmtree(kept)
    half.rename(kept)


def _replace(path: Path, data: bytes) -> None:
    half = path.with_name(f".{path.name}-{os.getpid()}")
    half.write_bytes(data)
    half.replace(path)


def main(arguments: Sequence[str] | None = None) -> int:
    """Judge the run directory that is named, and say the verdict: as one JSON line, or as the summary for people."""
    parser = argparse.ArgumentParser(prog="python -m chaosd.report.judge", description="Judge one run directory.")
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--json", action="store_true", dest="as_json", help="one JSON line instead of the summary")
    options = parser.parse_args(arguments)
    try:
        judged = judge_run(options.run_dir)
    except ChaosdError as error:
        return _fail(error, as_json=options.as_json)
    except Exception as error:  # noqa: BLE001 -- the traceback goes to the judge's log; the surface gets one line
        traceback.print_exc()
        broken = JournalError(f"this journal could not be judged: {type(error).__name__}: {error}")
        return _fail(broken, as_json=options.as_json)
    if options.as_json:
        _say(judged.event())
    else:
        from chaosd.report import terminal  # noqa: PLC0415 -- loads what only people need

        terminal.show(judged.run_dir)
    return int(judged.exit)


def _fail(error: ChaosdError, *, as_json: bool) -> int:
    code = int(error.exit_code)
    if as_json:
        words = {"message": error.message, "remedy": error.remedy, "detail": error.detail}
        _say({"event": "error", **words, "exit": code})
    else:
        sys.stderr.write(f"{error}\n")
    return code


def _say(event: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
