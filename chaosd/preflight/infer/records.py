"""A record told as a dict: `dataclasses.asdict(order)`, `order.model_dump()`."""

from __future__ import annotations

from chaosd.preflight.index.fields import record
from chaosd.preflight.infer.annotations import promised
from chaosd.preflight.infer.values import (
    UNKNOWN,
    Container,
    Instance,
    Row,
    Site,
    Values,
    container,
    join,
    one,
    written_dict,
)
from chaosd.preflight.infer.world import World

_DUMPERS = frozenset({"model_dump", "dict"})


def is_dumper(world: World, cls: str, name: str) -> bool:
    """Whether a method of pydantic's base gives the fields as a dict."""
    if name not in _DUMPERS:
        return False
    found = record(world.project, cls)
    custom = any(
        "serializer" in d for info in world.project.lineage(cls)[0] for m in info.methods.values() for d in m.decorators
    )
    return found is not None and found.kind == "pydantic" and not custom


def as_dict(world: World, values: Values, site: Site, kinds: frozenset[str]) -> Values:
    """The fields of objects of project records of some kinds, nested ones told as dicts too."""
    parts = [_of(world, atom.cls, site, kinds, 0) for atom in values.atoms if isinstance(atom, Instance)]
    whole = bool(parts) and len(parts) == len(values.atoms) and not values.open
    return join(*parts) if whole else UNKNOWN


def _of(world: World, cls: str, site: Site, kinds: frozenset[str], depth: int) -> Values:
    found = record(world.project, cls)
    if found is None or found.kind not in kinds or depth > 1 or world.project.subclasses.get(cls):
        return UNKNOWN
    fields: dict[str, Values] = {}
    for field in found.fields:
        said = promised(world.project, field.owner.source.module, field.annotation)
        if said is None:
            said = world.look(("attribute", field.owner.key, field.name)) or UNKNOWN
        fields[field.name] = _told(world, said, site, kinds, depth)
    return written_dict(fields, site)


def _told(world: World, values: Values, site: Site, kinds: frozenset[str], depth: int) -> Values:
    """The same values with records as dicts, in containers too."""
    parts: list[Values] = []
    for atom in values.atoms:
        if isinstance(atom, Instance) and _is_record(world, atom, kinds):
            parts.append(_of(world, atom.cls, site, kinds, depth + 1))
        elif isinstance(atom, Container) and atom.fields is None:
            key, item = (_told(world, part, site, kinds, depth) for part in (atom.key, atom.item))
            parts.append(container(mapping=atom.mapping, key=key, item=item, is_set=atom.is_set))
        else:
            parts.append(UNKNOWN if isinstance(atom, Row) else one(atom))
    return join(*parts, UNKNOWN) if values.open else join(*parts)


def _is_record(world: World, atom: object, kinds: frozenset[str]) -> bool:
    found = record(world.project, atom.cls) if isinstance(atom, Instance) else None
    return found is not None and found.kind in kinds
