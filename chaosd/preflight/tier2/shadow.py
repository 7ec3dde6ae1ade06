"""A copy of the analysed source in which unannotated parameters say what tier 1 saw flow into them.

Annotations are strings, inserted behind the parameter's name, and the imports they need stand at the end of the file:
every line keeps its number.
"""

from __future__ import annotations

import ast
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from chaosd.preflight.index.declared import Declarations, FunctionInfo
from chaosd.preflight.infer.analysis import Analysis
from chaosd.preflight.infer.frame import assigned_names, doubts
from chaosd.preflight.infer.values import Instance, Scalar, Values
from chaosd.preflight.infer.world import World

_BUILTINS = frozenset({"str", "bytes", "bool", "int", "float"})


@dataclass(frozen=True, slots=True)
class Shadow:
    """`sources` are the paths of reports by the copy's resolved file, `annotated` the number of parameters."""

    sources: dict[Path, str]
    search: tuple[Path, ...]
    annotated: int


def write(analysis: Analysis, folder: Path) -> Shadow:
    """Write the copy of all modules into an empty folder."""
    project = analysis.project
    world = World(project, analysis.shapes, known=analysis.flows)
    sources: dict[Path, str] = {}
    annotated = 0
    for declared in project.modules.values():
        source = declared.source
        if not source.file.is_relative_to(project.layout.base):
            continue
        with tokenize.open(source.file) as stream:
            text = stream.read()
        notes = list(_annotations(world, declared))
        copy = folder / source.file.relative_to(project.layout.base)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(_annotated(text, notes), encoding="utf-8", errors="surrogateescape")
        annotated += len(notes)
        if source.reported:
            sources[copy.resolve()] = source.path
    return Shadow(sources, (folder, *(folder.joinpath(*root.split(".")) for root in project.roots)), annotated)


@dataclass(frozen=True, slots=True)
class _Note:
    """Behind `column` (in UTF-8 bytes) of `line` stands that the parameter is `name` of `module`."""

    line: int
    column: int
    module: str
    name: str


def _annotations(world: World, declared: Declarations) -> Iterator[_Note]:
    for info in declared.functions.values():
        asked = doubts(info.node) | assigned_names(info.node.body)
        for parameter in _bare(info):
            values = None if parameter.arg in asked else world.fed(info, parameter.arg)
            told = None if values is None else _type(world, values)
            if told is not None and parameter.end_lineno is not None and parameter.end_col_offset is not None:
                yield _Note(parameter.end_lineno, parameter.end_col_offset, *told)


def _bare(info: FunctionInfo) -> list[ast.arg]:
    """The parameters without annotation and default: what has a default may be left out, and is that then."""
    spec = info.node.args
    places = [*spec.posonlyargs, *spec.args]
    needed = places[: len(places) - len(spec.defaults)]
    if info.cls is not None and not info.is_static:
        needed = needed[1:]
    needed += [one for one, default in zip(spec.kwonlyargs, spec.kw_defaults, strict=True) if default is None]
    return [parameter for parameter in needed if parameter.annotation is None]


def _type(world: World, values: Values) -> tuple[str, str] | None:
    """Module and name of the one class that all values are of; None when they differ, or others are possible."""
    found: set[tuple[str, str]] = set()
    for atom in values.atoms:
        if isinstance(atom, Scalar) and atom.kind in _BUILTINS:
            found.add(("builtins", atom.kind))
        elif isinstance(atom, Instance) and "<locals>" not in atom.cls and not world.shapes.of(atom.cls).surprises:
            module, _, name = atom.cls.partition(":")
            found.add((module, name))
        else:
            return None
    if len(found) != 1 or values.open:
        return None
    module, name = found.pop()
    return (module, name) if module and all(part.isidentifier() for part in (module + "." + name).split(".")) else None


def _annotated(text: str, notes: list[_Note]) -> str:
    lines = text.split("\n")
    modules = {module: f"_chaosd_{at}" for at, module in enumerate(sorted({note.module for note in notes}))}
    for note in sorted(notes, key=lambda note: (note.line, note.column), reverse=True):
        line = lines[note.line - 1].encode("utf-8", "surrogateescape")
        said = f': "{modules[note.module]}.{note.name}"'.encode()
        lines[note.line - 1] = (line[: note.column] + said + line[note.column :]).decode("utf-8", "surrogateescape")
    return "\n".join([*lines, *(f"import {module} as {alias}" for module, alias in modules.items()), ""])
