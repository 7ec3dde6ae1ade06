"""`chaosd list`: the experiments there are, in plain words."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from chaosd.experiment.spec import Experiment

app = typer.Typer(add_completion=False)


@app.command()
def list_(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]…", help="Only these: `faults/*`.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also the lab: demonstrations.")] = False,
    targets: Annotated[bool, typer.Option("--targets", help="The pipelines that chaosd ships instead.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON array.")] = False,
) -> None:
    """List the bundled experiments; `chaosd run NAME` carries one out, `chaosd plan NAME` says what it would do."""
    if targets:
        _targets(as_json=as_json)
        return
    from rich.console import Console
    from rich.table import Table

    from chaosd.catalogue import catalogue
    from chaosd.experiment.parse import all_bundled, expand, find, in_lab, load

    forms = catalogue().forms
    chosen = [find(name) for given in names or () for name in expand(given)]
    paths = chosen or [path for path in all_bundled().values() if everything or not in_lab(path)]
    found = [(load(str(path), forms), in_lab(path)) for path in paths]
    if as_json:
        print(json.dumps([{**_brief(one), "lab": lab} for one, lab in found], indent=2))
        return
    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False, show_header=False)
    for fold in (False, True, False):
        table.add_column(no_wrap=not fold)
    for one, lab in found:
        about = f"about {round(one.expected_ns / 1e9)} s" + (" · lab" if lab else "")
        table.add_row(one.name, one.title, about, style="dim" if lab else "")
    console.print(table)
    if not everything and not chosen:
        console.print(
            "\n`chaosd list --all` shows the lab too: what is no PASS, and pipelines with a mistake.", style="dim"
        )


def _targets(*, as_json: bool) -> None:
    from chaosd.target.table import TARGETS

    if as_json:
        print(json.dumps([{"name": target.name, "about": target.about} for target in TARGETS], indent=2))
        return
    width = max(len(target.name) for target in TARGETS)
    for target in TARGETS:
        print(f"{target.name:<{width}}  {target.about}")
    print("\n`chaosd run NAME --target TARGET` runs an experiment on one; all but `reference` are broken on purpose.")


def _brief(one: Experiment) -> dict[str, object]:
    return {
        "name": one.name,
        "title": one.title,
        "description": one.description,
        "tags": list(one.tags),
        "target": one.target,
        "faults": [{"fault": step.fault, "on": step.on} for step in one.timeline],
        "expected_s": round(one.expected_ns / 1e9, 1),
    }
