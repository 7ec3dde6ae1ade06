"""missing-field: a record is made without a field that it needs."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from chaosd.kernel.finding import Finding
from chaosd.preflight.index.declared import Imported
from chaosd.preflight.index.fields import Field, Record, accepts_none
from chaosd.preflight.index.nodes import walk
from chaosd.preflight.infer.analysis import Analysis
from chaosd.preflight.rules.rule import Rule, at, gathered, uses
from chaosd.preflight.rules.unknown_field import made_record

_ONLY_IN_PYDANTIC_2 = frozenset(
    "ConfigDict field_validator model_validator computed_field field_serializer model_serializer AwareDatetime "
    "TypeAdapter RootModel BeforeValidator AfterValidator".split()
)
_METHODS_OF_PYDANTIC_2 = frozenset(
    "model_dump model_dump_json model_validate model_validate_json model_copy model_construct model_config".split()
)


def _find(analysis: Analysis) -> Iterator[Finding]:
    second = _pydantic_2(analysis)
    for use in uses(analysis, ast.Call):
        node = use.node
        found = made_record(analysis, node) if isinstance(node, ast.Call) else None
        if found is None or not isinstance(node, ast.Call) or _spreads(node) or _expects_refusal(use.function):
            continue
        cls, known = found
        if known.kind == "typeddict" and node.args:
            continue
        places = [field.name for field in known.fields if field.init and not field.keyword_only]
        given = {keyword.arg for keyword in node.keywords} | set(places[: len(node.args)])
        missing = [f.alias or f.name for f in known.fields if _needed(f, known, second) and not _is_given(f, given)]
        if missing:
            info = analysis.project.classes[cls]
            text = f"{info.name} needs {', '.join(map(repr, missing))}"
            yield at(rule.name, use, node, text, symbol=f"{info.name}.{missing[0]}", defined_at=info.place)


def _needed(field: Field, known: Record, second: bool) -> bool:  # noqa: FBT001
    optional = known.kind == "pydantic" and not second and accepts_none(field.annotation)
    return field.required and field.init and not optional


def _is_given(field: Field, given: set[str | None]) -> bool:
    return field.name in given or (field.alias is not None and field.alias in given)


def _spreads(node: ast.Call) -> bool:
    return any(isinstance(item, ast.Starred) for item in node.args) or any(k.arg is None for k in node.keywords)


def _expects_refusal(function: object) -> bool:
    """The code catches what pydantic raises, a ValueError: it asks whether the data is complete."""
    node = getattr(function, "node", None)
    handlers = [part for part in walk(node) if isinstance(part, ast.ExceptHandler)] if node is not None else []
    return any(
        part.type is None or "Valid" in ast.unparse(part.type) or "ValueError" in ast.unparse(part.type)
        for part in handlers
    )


def _pydantic_2(analysis: Analysis) -> bool:
    """Names that only pydantic 2 has are imported or called: then Optional alone gives no default."""
    for declared in analysis.project.modules.values():
        for what in declared.names.bound.values():
            if isinstance(what, Imported) and what.module.startswith("pydantic") and what.name in _ONLY_IN_PYDANTIC_2:
                return True
    return bool(gathered(analysis, _methods_of_pydantic_2))


def _methods_of_pydantic_2(analysis: Analysis) -> set[str]:
    named = analysis.record.uses.get(ast.Attribute, [])
    return {use.node.attr for use in named if isinstance(use.node, ast.Attribute)} & _METHODS_OF_PYDANTIC_2


rule = Rule("missing-field", "a record made without a field that it needs", _find, gathers=(_methods_of_pydantic_2,))
