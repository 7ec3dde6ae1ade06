"""Which run a command is about: a run directory, or the id of a run in the folder of runs."""

from __future__ import annotations

from pathlib import Path

from chaosd.kernel.errors import UsageError, nearest

_TRAFFIC = "sends-generator.arrows"


def find(name: str | None, runs_dir: Path) -> Path:
    """The run directory that is meant; None is the newest run, before that of one which ended before its traffic began.

    Raises UsageError when there is none. A path that exists is taken as it is: whether it holds a run is found by
    reading it.
    """
    from chaosd.journal.runs import list_runs

    if name is not None and Path(name).is_dir():
        return Path(name)
    if name is not None and Path(name).is_file():
        raise UsageError(
            f"{name} is a file, not a run directory", remedy="of all in a folder, `runs/*/` names the runs"
        )
    runs = list_runs(runs_dir)
    if name is None:
        if not runs:
            raise UsageError(
                f"there is no run in {runs_dir}", remedy="name a run directory, or run an experiment first"
            )
        return next((run.path for run in runs if (run.path / _TRAFFIC).exists()), runs[0].path)
    for run in runs:
        if run.run_id == name:
            return run.path
    near = nearest(name, [run.run_id for run in runs])
    hint = f"did you mean {near!r}?" if near else f"`ls {runs_dir}` shows the runs there are"
    raise UsageError(f"there is no run {name!r}, neither as a folder nor in {runs_dir}", remedy=hint)
