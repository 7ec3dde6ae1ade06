"""`chaosd faults`: what can be broken, on what, and with which parameters."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from chaosd.faults.describe import Description


def faults(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="One fault, with its parameters and proofs.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="All that is known, as JSON.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="The page docs/faults.md.")] = False,
) -> None:
    """List the faults, or tell all about one."""
    from chaosd.faults import describe

    described = _described()
    if markdown:
        print(describe.markdown(described), end="")
    elif name:
        one = described.get(name) or _unknown(name, described)
        print(json.dumps(one.to_json(), indent=2, ensure_ascii=False) if as_json else "\n".join(_whole(one)))
    elif as_json:
        print(json.dumps([one.to_json() for one in described.values()], indent=2, ensure_ascii=False))
    else:
        _table(described)


def _described() -> dict[str, Description]:
    from chaosd.catalogue import catalogue
    from chaosd.experiment.parse import all_bundled, load
    from chaosd.faults.describe import describe

    forms = catalogue().forms
    return describe(load(str(path), forms) for path in all_bundled().values())


def _unknown(name: str, described: dict[str, Description]) -> Description:
    from chaosd.kernel.errors import UsageError, nearest

    near = nearest(name, described)
    remedy = f"did you mean {near!r}?" if near else "`chaosd faults` lists them"
    raise UsageError(f"there is no fault {name!r}", remedy=remedy)


def _table(described: dict[str, Description]) -> None:
    from rich.console import Console
    from rich.table import Table

    from chaosd.faults.describe import family_title

    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False, show_header=False)
    for fold in (False, True):
        table.add_column(no_wrap=not fold)
    family = ""
    for one in described.values():
        if one.family != family:
            table.add_row("" if family else None)
            family = one.family
            table.add_row(family, family_title(family), style="bold")
        table.add_row(f"  {one.name}", f"{one.summary} [dim]{', '.join(one.on)}[/dim]")
    console.print(table)
    console.print("\n`chaosd faults NAME` shows parameters, what proves it, and an example.", style="dim")


def _whole(one: Description) -> list[str]:
    lines = [f"{one.name}: {one.summary}", *([f"  {one.about}"] if one.parameters else []), ""]
    lines += [f"  on          {', '.join(one.on)}", f"  needs       {one.needs}"]
    if one.irreversible:
        lines.append("  healed      when the service works again: what it breaks is not brought back (irreversible)")
    lines += [f"  takes away  {words}" for words in one.voids]
    for told in one.parameters:
        default = "required" if told.default is None else f"default {told.default}"
        lines += ["", f"  {told.name}: {told.form}; {default}", f"    {told.about}"]
    if one.example is not None:
        lines += ["", f"  example     {one.example.step}", f"              in chaosd run {one.example.experiment}"]
        lines += [f"  it bites    {words}" for words in one.example.bite]
        lines += [f"  it is gone  {words}" for words in one.example.healed]
    return lines
