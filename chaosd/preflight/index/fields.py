"""The fields of records: dataclasses, pydantic models, structs of msgspec, attrs, TypedDicts and NamedTuples."""

from __future__ import annotations

import ast
from dataclasses import dataclass, replace

from chaosd.preflight.index.declared import ClassInfo, Outside, dotted
from chaosd.preflight.index.project import Project

_PYDANTIC = frozenset({"pydantic.BaseModel", "pydantic.main.BaseModel"})
_BASES = {
    "msgspec.Struct": "struct",
    "typing.TypedDict": "typeddict",
    "typing_extensions.TypedDict": "typeddict",
    "typing.NamedTuple": "namedtuple",
} | dict.fromkeys(_PYDANTIC, "pydantic")
_HARMLESS = frozenset({"builtins.object", "abc.ABC", "typing.Generic", "typing_extensions.Generic"})
_DECORATORS = {
    "dataclasses.dataclass": "dataclass",
    "attrs.define": "attrs",
    "attrs.frozen": "attrs",
    "attrs.mutable": "attrs",
    "attr.define": "attrs",
    "attr.frozen": "attrs",
}
_FIELD_CALLS = frozenset({"Field", "field", "ib", "PrivateAttr"})
_DEFAULTS = frozenset({"default", "default_factory", "factory"})
_COMPUTED_INIT = frozenset({"__init__", "__new__", "__init_subclass__"})
_BEFORE = frozenset({"model_validator", "root_validator"})


@dataclass(frozen=True, slots=True)
class Field:
    """`alias` is the keyword that the constructor takes, where it is another than the name."""

    name: str
    annotation: ast.expr
    owner: ClassInfo
    required: bool
    init: bool
    keyword_only: bool
    alias: str | None
    value: ast.expr | None


@dataclass(frozen=True, slots=True)
class Record:
    """The fields of a class, bases first. `by_name`: fields with an alias may be given by their own name too."""

    kind: str
    fields: tuple[Field, ...]
    by_name: bool
    extra: str

    @property
    def keywords(self) -> frozenset[str]:
        """What a constructor takes by keyword."""
        found: set[str] = set()
        for field in self.fields:
            if field.init:
                found.add(field.alias or field.name)
                if self.by_name or self.kind != "pydantic":
                    found.add(field.name)
        return frozenset(found)

    @property
    def names(self) -> frozenset[str]:
        """The names of all fields."""
        return frozenset(field.name for field in self.fields)


def record(project: Project, key: str) -> Record | None:
    """The fields of a project class; None when it is no record, or when its constructor is not the generated one."""
    if ("record", key) not in project.notes:
        project.notes["record", key] = _record(project, key)
    found = project.notes["record", key]
    return found if isinstance(found, Record) else None


def _record(project: Project, key: str) -> Record | None:
    chain, outside = project.lineage(key)
    kinds = {_kind(project, info) for info in chain} - {None}
    kinds |= {_BASES[base] for base in outside if base in _BASES}
    if len(kinds) != 1 or any(base not in _BASES and base not in _HARMLESS for base in outside):
        return None
    kind = kinds.pop() or ""
    if any(not _plain(info, kind) for info in chain):
        return None
    fields: dict[str, Field] = {}
    for info in reversed(chain):
        if kind in {"dataclass", "attrs"} and _kind(project, info) is None:
            continue
        for name, node in info.fields.items():
            found = _field(project, info, name, node, kind)
            if found is not None:
                fields[name] = found
        for name in info.members:
            if name in fields and name not in info.fields and kind == "pydantic":
                fields[name] = replace(fields[name], required=False)
    config = [_config(info) for info in chain]
    texts = " ".join(config)
    if "alias_generator" in texts or "?" in texts:
        return None
    extra = next((word for word in ("forbid", "allow") if f"'{word}'" in texts or f".{word}" in texts), "ignore")
    by_name = "populate_by_name" in texts or "validate_by_name" in texts or "allow_population_by_field_name" in texts
    return Record(kind, tuple(fields.values()), by_name, extra)


def _kind(project: Project, info: ClassInfo) -> str | None:
    for name in info.decorators:
        found = project.resolve(info.source.module, name)
        if isinstance(found, Outside) and found.path in _DECORATORS:
            return _DECORATORS[found.path]
    return None


def _plain(info: ClassInfo, kind: str) -> bool:
    if _COMPUTED_INIT & info.methods.keys():
        return False
    for decorator in info.node.decorator_list:
        if isinstance(decorator, ast.Call):
            words = {keyword.arg: keyword.value for keyword in decorator.keywords}
            if None in words or ("init" in words) or "field_transformer" in words or "these" in words:
                return False
    if kind == "pydantic":
        for method in info.methods.values():
            if any(name.rpartition(".")[2] in _BEFORE for name in method.decorators) and _runs_before(method.node):
                return False
    return all(keyword.arg is not None and keyword.arg != "rename" for keyword in info.node.keywords)


def _runs_before(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    text = " ".join(ast.unparse(decorator) for decorator in node.decorator_list)
    return "before" in text or "wrap" in text or "root_validator" in text


def _config(info: ClassInfo) -> str:
    parts = [f"{keyword.arg}={ast.unparse(keyword.value)}" for keyword in info.node.keywords]
    for node in info.node.body:
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.ClassDef):
            head = node.name if isinstance(node, ast.ClassDef) else ast.unparse(node).partition("=")[0]
            if head.strip().startswith(("model_config", "Config")):
                simple = isinstance(node, ast.ClassDef) or isinstance(node.value, ast.Call | ast.Dict)
                parts.append(ast.unparse(node) if simple else "?")
    return " ".join(parts)


def _field(project: Project, info: ClassInfo, name: str, node: ast.AnnAssign, kind: str) -> Field | None:
    outer = _outermost(project, info, node.annotation)
    if outer in {"ClassVar", "KW_ONLY"} or (kind == "pydantic" and (name.startswith("_") or name == "model_config")):
        return None
    calls = [part for part in (node.value, *_metadata(node.annotation)) if _is_field_call(part)]
    words: dict[str | None, ast.expr] = {}
    positional = False
    for call in calls:
        if isinstance(call, ast.Call):
            words.update({keyword.arg: keyword.value for keyword in call.keywords})
            first = call.args[0] if call.args else None
            positional = first is not None and not (isinstance(first, ast.Constant) and first.value is Ellipsis)
    plain_default = node.value is not None and not _is_field_call(node.value)
    if isinstance(node.value, ast.Constant) and node.value.value is Ellipsis:
        plain_default = False
    defaulted = plain_default or positional or bool(_DEFAULTS & words.keys()) or None in words
    if kind == "typeddict":
        defaulted = outer == "NotRequired" or (_not_total(info) and outer != "Required")
    alias = words.get("validation_alias", words.get("alias"))
    known = alias.value if isinstance(alias, ast.Constant) and isinstance(alias.value, str) else None
    init = words.get("init")
    return Field(
        name=name,
        annotation=node.annotation,
        owner=info,
        required=not defaulted and (alias is None or known is not None),
        init=not (isinstance(init, ast.Constant) and init.value is False),
        keyword_only="kw_only" in words or _all_by_keyword(info) or kind in {"pydantic", "typeddict"},
        alias=known,
        value=node.value,
    )


def _is_field_call(node: ast.AST | None) -> bool:
    return isinstance(node, ast.Call) and (dotted(node.func) or "").rpartition(".")[2] in _FIELD_CALLS


def _metadata(annotation: ast.expr) -> list[ast.expr]:
    if isinstance(annotation, ast.Subscript) and isinstance(annotation.slice, ast.Tuple):
        is_annotated = (dotted(annotation.value) or "").rpartition(".")[2] == "Annotated"
        return annotation.slice.elts[1:] if is_annotated else []
    return []


def _outermost(project: Project, info: ClassInfo, annotation: ast.expr) -> str:
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        return "ClassVar" if "ClassVar" in annotation.value else ""
    path = dotted(annotation.value if isinstance(annotation, ast.Subscript) else annotation) or ""
    found = project.resolve(info.source.module, path) if path else None
    return (found.path if isinstance(found, Outside) else path).rpartition(".")[2]


def _not_total(info: ClassInfo) -> bool:
    return any(
        keyword.arg == "total" and isinstance(keyword.value, ast.Constant) and keyword.value.value is False
        for keyword in info.node.keywords
    )


def _all_by_keyword(info: ClassInfo) -> bool:
    text = " ".join(ast.unparse(node) for node in info.node.decorator_list)
    own = any(keyword.arg == "kw_only" for keyword in info.node.keywords)
    marked = any("KW_ONLY" in ast.unparse(field.annotation) for field in info.fields.values())
    return "kw_only=True" in text or own or marked


def accepts_none(annotation: ast.expr) -> bool:
    """Whether an annotation says Optional: in pydantic 1 such a field needs no value, in pydantic 2 it does."""
    text = ast.unparse(annotation)
    return "Optional" in text or "None" in text or "Any" in text
