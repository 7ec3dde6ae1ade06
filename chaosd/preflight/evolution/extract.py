"""Reads the schemas off a project's source; nothing is imported."""

from __future__ import annotations

import ast
import re

from chaosd.preflight.evolution.schema import EnumSchema, FieldSchema, ModelSchema, Schemas
from chaosd.preflight.index.declared import ClassInfo, Outside, dotted
from chaosd.preflight.index.enums import members
from chaosd.preflight.index.fields import Field, record
from chaosd.preflight.index.project import Project
from chaosd.preflight.index.shape import Shapes

_CONSTRAINTS = frozenset("gt ge lt le min_length max_length multiple_of pattern".split())
_KINDS = frozenset({"pydantic", "dataclass", "struct", "attrs"})


def schemas(project: Project) -> Schemas:
    """All records and enums that are declared in what was asked for, tests left out."""
    shapes = Shapes(project)
    models: dict[str, ModelSchema] = {}
    enums: dict[str, EnumSchema] = {}
    for key, info in project.classes.items():
        if info.source.is_test or "<locals>" in key or not info.source.reported:
            continue
        if shapes.of(key).is_enum:
            known = members(project, key)
            if known is not None and known.values is not None and known.names:
                values = dict(zip(known.names, known.values, strict=True))
                if all(isinstance(value, str | int | float) for value in values.values()):
                    enums[key] = EnumSchema(identifier(key), info.name, values, info.source.path, info.node.lineno)
            continue
        found = record(project, key)
        if found is not None and found.kind in _KINDS:
            fields = tuple(_field(project, one) for one in found.fields)
            models[key] = ModelSchema(
                identifier=identifier(key),
                name=info.name,
                kind=found.kind,
                extra=found.extra,
                by_name=found.by_name or found.kind != "pydantic",
                fields=fields,
                path=info.source.path,
                line=info.node.lineno,
            )
    return Schemas(models, enums)


def identifier(key: str) -> str:
    """A name for a class that is unique in the project and stays when lines move."""
    return re.sub(r"\W", "_", key)


def _field(project: Project, field: Field) -> FieldSchema:
    annotation = field.annotation
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        try:
            annotation = ast.parse(annotation.value.strip(), mode="eval").body
        except SyntaxError:
            annotation = ast.Name("Any", ast.Load())
    constraints: dict[str, float | int | str] = {}
    for call in ast.walk(ast.Tuple([field.annotation, *([field.value] if field.value else [])], ast.Load())):
        if isinstance(call, ast.Call):
            for keyword in call.keywords:
                value = keyword.value.value if isinstance(keyword.value, ast.Constant) else None
                if keyword.arg in _CONSTRAINTS and isinstance(value, int | float | str):
                    constraints[keyword.arg] = value
    return FieldSchema(
        name=field.name,
        type=ast.unparse(_Resolved(project, field.owner).visit(annotation)),
        required=field.required,
        alias=field.alias,
        constraints=constraints,
        line=field.owner.fields[field.name].lineno,
    )


class _Resolved(ast.NodeTransformer):
    """An annotation with every name as it is known everywhere: identifiers of project classes, last names of others."""

    def __init__(self, project: Project, owner: ClassInfo) -> None:
        self.project = project
        self.owner = owner

    def _name(self, node: ast.expr) -> ast.expr:
        found = self.project.resolve(self.owner.source.module, dotted(node) or "?")
        if isinstance(found, ClassInfo):
            return ast.Name(identifier(found.key), ast.Load())
        last = found.path if isinstance(found, Outside) else dotted(node) or "Any"
        return ast.Name(last.rpartition(".")[2], ast.Load())

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self._name(node)

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        return self._name(node)

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        outer = self._name(node.value)
        inner = list(node.slice.elts) if isinstance(node.slice, ast.Tuple) else [node.slice]
        name = outer.id if isinstance(outer, ast.Name) else ""
        if name == "Annotated":
            result: ast.expr = self.visit(inner[0])
            return result
        if name == "Literal":
            return ast.Subscript(outer, node.slice, ast.Load())
        parts = [self.visit(part) for part in inner]
        if name in {"Optional", "Union"}:
            parts += [ast.Constant(None)] if name == "Optional" else []
            joined: ast.expr = parts[0]
            for part in parts[1:]:
                joined = ast.BinOp(joined, ast.BitOr(), part)
            return joined
        return ast.Subscript(outer, parts[0] if len(parts) == 1 else ast.Tuple(parts, ast.Load()), ast.Load())
