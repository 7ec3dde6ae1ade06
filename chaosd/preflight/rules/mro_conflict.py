"""mro-conflict: a class whose bases cannot be combined; its module cannot even be imported."""

from __future__ import annotations

from collections.abc import Iterator

from chaosd.kernel.finding import Finding
from chaosd.preflight.index.declared import ClassInfo
from chaosd.preflight.index.enums import members
from chaosd.preflight.infer.analysis import Analysis
from chaosd.preflight.rules.rule import Rule

# typing takes these out of the bases, or orders them itself.
_ORDERED_BY_TYPING = frozenset({"typing.Generic", "typing.Protocol", "typing_extensions.Protocol"})
_LAYOUTS = frozenset(
    f"builtins.{name}"
    for name in ("int", "str", "bytes", "float", "dict", "list", "tuple", "set", "frozenset", "bytearray")
)


def _find(analysis: Analysis) -> Iterator[Finding]:
    for key, info in sorted(analysis.project.classes.items()):
        if not info.source.reported:
            continue
        problem = _problem(analysis, info)
        if problem:
            yield Finding(
                info.source.path, info.node.lineno, info.node.col_offset, rule.name, problem,
                symbol=info.name, defined_at=info.place,
            )  # fmt: skip
        del key


def _problem(analysis: Analysis, info: ClassInfo) -> str:
    bases = [base for base in info.bases if base not in _ORDERED_BY_TYPING]
    if None in bases:
        return ""
    named = [base for base in bases if base is not None]
    if len(set(named)) < len(named):
        return f"{info.name} names a base twice"
    if _order(analysis, info.key, {}) is None and all(_order(analysis, base, {}) for base in named):
        return f"the bases of {info.name} have no common order: {', '.join(_short(base) for base in named)}"
    for base in named:
        if base in analysis.project.classes and analysis.shapes.of(base).is_enum:
            found = members(analysis.project, base)
            if found is not None and found.names:
                return f"{info.name} extends the enum {_short(base)}, which has members already"
    layouts = [layout for layout in (_layout(analysis, base) for base in named) if layout]
    if len(set(layouts)) > 1:
        return f"{info.name} cannot be both {_short(layouts[0])} and {_short(layouts[1])}"
    return ""


def _layout(analysis: Analysis, base: str) -> str:
    if base in _LAYOUTS:
        return base
    if base not in analysis.project.classes:
        return ""
    outside = analysis.project.lineage(base)[1]
    return next((name for name in outside if name in _LAYOUTS), "")


def _short(key: str) -> str:
    return key.rpartition(":")[2].rpartition(".")[2]


def _order(analysis: Analysis, key: str, working: dict[str, list[str] | None]) -> list[str] | None:
    """The order of Python's C3 linearization, None when there is none. Libraries' classes stand for themselves."""
    if key in working:
        return working[key]
    working[key] = [key]  # a cycle cannot run anyway
    info = analysis.project.classes.get(key)
    if info is None:
        return working[key]
    bases = [base for base in info.bases if base is not None and base not in _ORDERED_BY_TYPING]
    parts = [_order(analysis, base, working) for base in bases]
    if any(part is None for part in parts):
        working[key] = None
        return None
    lists = [list(part) for part in parts if part is not None] + [list(bases)]
    merged: list[str] | None = [key]
    while merged is not None and any(lists):
        lists = [part for part in lists if part]
        heads = [part[0] for part in lists]
        chosen = next((head for head in heads if not any(head in part[1:] for part in lists)), None)
        if chosen is None:
            merged = None
        else:
            merged.append(chosen)
            lists = [[name for name in part if name != chosen] for part in lists]
    working[key] = merged
    return merged


rule = Rule("mro-conflict", "a class whose bases cannot be combined", _find, once=True)
