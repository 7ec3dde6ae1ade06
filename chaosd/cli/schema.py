"""`chaosd schema`: JSON Schema of the files that people and programs read, to standard output."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Annotated, Any

import typer


def schema(
    what: Annotated[
        str, typer.Argument(help="experiment, target or operator (files you write), verdict (verdict.json)")
    ] = "experiment",
) -> None:
    """Print JSON Schema, for editors and for programs that check files."""
    from chaosd.kernel.errors import UsageError, nearest

    if what not in _SCHEMAS:
        near = nearest(what, _SCHEMAS)
        remedy = f"did you mean {near!r}?" if near else f"one of: {', '.join(_SCHEMAS)}"
        raise UsageError(f"there is no schema of {what!r}", remedy=remedy)
    print(json.dumps(_SCHEMAS[what](), indent=2, ensure_ascii=False))


def _experiment() -> dict[str, Any]:
    from chaosd.catalogue import catalogue
    from chaosd.experiment.schema import experiment_schema
    from chaosd.target.launch import names

    return experiment_schema(catalogue().forms, names())


def _operator() -> dict[str, Any]:
    from chaosd.conductor.operator import schema

    return schema()


def _verdict() -> dict[str, Any]:
    from chaosd.report import model

    return model.schema()


def _target() -> dict[str, Any]:
    from chaosd.experiment import target_file

    return target_file.schema()


_SCHEMAS: dict[str, Callable[[], dict[str, Any]]] = {
    "experiment": _experiment,
    "target": _target,
    "operator": _operator,
    "verdict": _verdict,
}
