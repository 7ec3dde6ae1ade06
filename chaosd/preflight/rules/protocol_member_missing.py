"""protocol-member-missing: an object that lacks what its protocol or abstract base asks for."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from chaosd.kernel.finding import Finding
from chaosd.preflight.index.declared import ClassInfo
from chaosd.preflight.infer.analysis import Analysis
from chaosd.preflight.infer.values import ClassRef
from chaosd.preflight.rules.evidence import is_reported, methods_of, passed, protocols
from chaosd.preflight.rules.rule import Rule, uses

_ABSTRACT_BASES = frozenset({"abc.ABC", "typing.Protocol", "typing_extensions.Protocol"})
_PLAIN_BASES = _ABSTRACT_BASES | {"typing.Generic", "builtins.object"}


def _find(analysis: Analysis) -> Iterator[Finding]:
    for protocol, key in protocols(analysis, analysis.part):
        wanted = methods_of(analysis, protocol) or {}
        for site, cls in passed(analysis, key):
            shape, info = analysis.shapes.of(cls), analysis.project.classes[cls]
            missing = sorted(name for name in wanted if shape.lacks(name) and name not in analysis.project.patched)
            if missing and is_reported(analysis, site.path):
                text = f"{info.name} is passed as {protocol.name} and has no {', '.join(map(repr, missing))}"
                symbol = f"{info.name}.{missing[0]}"
                yield Finding(site.path, site.line, 0, rule.name, text, symbol=symbol, defined_at=protocol.place)
    for use in uses(analysis, ast.Call):
        node = use.node
        if not isinstance(node, ast.Call):
            continue
        atoms = analysis.record.of(node.func).atoms
        for atom in atoms:
            if isinstance(atom, ClassRef) and atom.exact and len(atoms) == 1:
                yield from _abstract(analysis, use.source.path, node, analysis.project.classes[atom.cls])


def _abstract(analysis: Analysis, path: str, node: ast.Call, info: ClassInfo) -> Iterator[Finding]:
    chain, outside = analysis.project.lineage(info.key)
    is_abc = any(base in _ABSTRACT_BASES for base in outside) or any(
        keyword.arg == "metaclass" and "ABCMeta" in ast.unparse(keyword.value)
        for part in chain
        for keyword in part.node.keywords
    )
    if not is_abc or any(base not in _PLAIN_BASES for base in outside) or any(part.decorators for part in chain):
        return
    if not all(len(part.bases) <= 2 for part in chain) or analysis.shapes.of(info.key).surprises:
        return
    abstract: set[str] = set()
    for part in reversed(chain):
        for name in part.members:
            method = part.methods.get(name)
            if method is not None and any(n.rpartition(".")[2] == "abstractmethod" for n in method.decorators):
                abstract.add(name)
            else:
                abstract.discard(name)
    if abstract:
        names = ", ".join(map(repr, sorted(abstract)))
        text = f"{info.name} is made, and its abstract {names} is not there"
        symbol = f"{info.name}.{min(abstract)}"
        yield Finding(path, node.lineno, node.col_offset, rule.name, text, symbol=symbol, defined_at=info.place)


rule = Rule("protocol-member-missing", "an object without what its protocol or abstract base asks for", _find)
