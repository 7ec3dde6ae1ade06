"""The part of decode-mode that looks at attributes: one attribute is fed by clients of both modes."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from chaosd.kernel.finding import Finding
from chaosd.preflight.index.declared import ClassInfo
from chaosd.preflight.index.nodes import walk
from chaosd.preflight.infer.analysis import Analysis
from chaosd.preflight.infer.redis import depends_on_mode
from chaosd.preflight.infer.values import Instance, RedisClient, RedisCommand, Site, Values
from chaosd.preflight.rules.rule import gathered

_ASKED = frozenset({"bytes", "str", "bytearray"})


def conflicts(analysis: Analysis) -> Iterator[Finding]:
    """One finding for each attribute whose replies are str from one construction and bytes from another.

    A class that looks at the type of what it gets, or never reads a reply that depends on the mode, is fine.
    """
    for cls, name in sorted(gathered(analysis, read_in_both_modes)):
        info = analysis.project.classes[cls]
        sites = analysis.flows.sites.get(("attribute", cls, name), set())
        stores = [site for site, values in sites if _clients(values)]
        if not stores or not info.source.reported or _asks_for_type(info):
            continue
        place = min(stores, key=lambda site: (site.path, site.line))
        yield _finding(analysis, info, name, place)


def read_in_both_modes(analysis: Analysis) -> set[tuple[str, str]]:
    """Class and name of the attributes whose replies are read, and may be of either mode."""
    found: set[tuple[str, str]] = set()
    for use in analysis.record.uses.get(ast.Call, []):
        node = use.node
        if not isinstance(node, ast.Call):
            continue
        commands = [atom for atom in analysis.record.of(node.func).atoms if isinstance(atom, RedisCommand)]
        modes = {atom.client.decodes for atom in commands if depends_on_mode(atom.name)}
        if len(modes) < 2 or not isinstance(node.func, ast.Attribute) or not isinstance(node.func.value, ast.Attribute):
            continue
        holder = node.func.value
        for atom in analysis.record.of(holder.value).atoms:
            if isinstance(atom, Instance):
                found.update(_owners(analysis, atom.cls, holder.attr))
    return found


def _owners(analysis: Analysis, cls: str, name: str) -> Iterator[tuple[str, str]]:
    for info in analysis.project.lineage(cls)[0]:
        if analysis.flows.get(("attribute", info.key, name)) is not None:
            yield info.key, name
            return


def _clients(values: Values) -> list[RedisClient]:
    return [atom for atom in values.atoms if isinstance(atom, RedisClient)]


def _asks_for_type(info: ClassInfo) -> bool:
    for node in walk(info.node):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"isinstance", "type"}:
            if any(isinstance(part, ast.Name) and part.id in _ASKED for part in walk(node)):
                return True
        elif isinstance(node, ast.ExceptHandler) and node.type is not None:
            caught = {part.id for part in walk(node.type) if isinstance(part, ast.Name)}
            if caught & {"AttributeError", "TypeError"}:
                return True
        elif isinstance(node, ast.Constant) and node.value in {"decode", "encode"}:
            return True  # hasattr(value, "decode")
    return False


def _finding(analysis: Analysis, info: ClassInfo, name: str, place: Site) -> Finding:
    fed = analysis.flows.get(("attribute", info.key, name)) or Values()
    built = {client.decodes: str(client.origin) for client in sorted(_clients(fed), key=lambda c: str(c.origin))}
    return Finding(
        path=place.path,
        line=place.line,
        column=0,
        rule="decode-mode",
        message=(
            f"{info.name}.{name} gets Redis clients of both modes: str from {built.get(True, '?')}, "
            f"bytes from {built.get(False, '?')}"
        ),
        symbol=f"{info.name}.{name}",
        defined_at=info.place,
    )
