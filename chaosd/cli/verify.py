"""`chaosd verify RUN_DIR…`: judges runs again from their journals, and says whether the verdict is the same."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from chaosd.kernel.errors import Exit
    from chaosd.report.judge import Judged


def verify(
    runs: Annotated[
        list[str] | None, typer.Argument(metavar="[RUN_DIR…]", help="folders or run ids; default: the newest")
    ] = None,
    runs_dir: Annotated[Path, typer.Option(envvar="CHAOSD_RUNS", help="where run ids are looked up")] = Path("runs"),
    own: Annotated[
        bool, typer.Option("--own", help="judge with this installation's verifiers, not the stored ones")
    ] = False,
    write: Annotated[bool, typer.Option("--write", help="replace a stored verdict that differs")] = False,
) -> int:
    """Judge runs again from nothing but their journals.

    A run directory carries the verifiers that judged it first; they are Python and they are run, so judge directories
    of strangers with --own. Exit code: that of the verdict, of several the worst.
    """
    from chaosd.cli.run_dirs import find
    from chaosd.kernel.errors import worst

    folders = [find(name, runs_dir) for name in runs] if runs else [find(None, runs_dir)]
    return int(worst([_verify(folder, own=own, write=write) for folder in folders]))


def _verify(folder: Path, *, own: bool, write: bool) -> Exit:
    from chaosd.kernel.bundled import bundled
    from chaosd.report import model
    from chaosd.report.judge import VERDICT, VERIFIERS, judge_run

    stored = (folder / VERDICT).read_bytes() if (folder / VERDICT).is_file() else None
    judged = judge_run(folder, write=stored is None, verifiers=bundled(VERIFIERS) if own else None)
    again = model.encode(judged.report)
    if stored is None:
        word = "judged for the first time"
    elif stored == again:
        word = "identical to the stored verdict"
    else:
        word = f"DIFFERENT from the stored verdict in {', '.join(_differences(stored, again)) or 'its form'}"
        if write:
            judge_run(folder, verifiers=bundled(VERIFIERS) if own else None)
            word += "; replaced"
    print(f"{judged.report.verdict:<13} {judged.report.run_id}  {word}{_who(judged)}")
    return judged.exit


def _differences(stored: bytes, again: bytes) -> list[str]:
    """The keys at the top of verdict.json that differ."""
    import json

    try:
        before, after = json.loads(stored), json.loads(again)
        return sorted(key for key in {*before, *after} if before.get(key) != after.get(key))
    except (ValueError, AttributeError, TypeError):
        return []


def _who(judged: Judged) -> str:
    if judged.own:
        return ""
    crashed = any(reason.startswith("verifier_crashed") for reason in judged.report.reasons)
    hint = "; another version of chaosd may have written them: try --own" if crashed else ""
    return f"  (by the stored verifiers, which are not those of this installation{hint})"
