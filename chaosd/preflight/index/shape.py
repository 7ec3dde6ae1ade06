"""Which attributes a class has, and whether that list can be trusted to be complete."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from chaosd.preflight.index.declared import ClassInfo, dotted
from chaosd.preflight.index.functional import ENUM_BASES
from chaosd.preflight.index.known import (
    HARMLESS_DECORATORS,
    HARMLESS_METACLASSES,
    ON_ANY_CLASS,
    ON_ANY_ENUM,
    ON_ANY_OBJECT,
    known_attributes,
)
from chaosd.preflight.index.project import Project

_PROTOCOLS = frozenset({"typing.Protocol", "typing_extensions.Protocol"})


@dataclass(frozen=True, slots=True)
class Shape:
    """The attributes of a class's objects. `surprises` says why there may be more; without any the list is whole."""

    attributes: frozenset[str]
    surprises: tuple[str, ...]
    is_enum: bool
    is_protocol: bool
    is_text: bool
    members: frozenset[str]

    def lacks(self, name: str) -> bool:
        """Certain that objects of the class have no attribute of that name."""
        return not self.surprises and name not in self.attributes and not _reserved(name)


def _reserved(name: str) -> bool:
    return name.startswith("_") and name.endswith("_")


class Shapes:
    """Shapes of the classes of one project, worked out once each."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self._known: dict[str, Shape] = {}

    def of(self, key: str) -> Shape:
        """The shape of a project class."""
        if key not in self._known:
            self._known[key] = self._work_out(key)
        return self._known[key]

    def below(self, key: str) -> list[Shape]:
        """The shapes of all its known subclasses."""
        return [self.of(sub) for sub in sorted(self.project.subclasses.get(key, ()))]

    def _work_out(self, key: str) -> Shape:
        chain, outside = self.project.lineage(key)
        attributes = set(ON_ANY_OBJECT)
        surprises: list[str] = []
        for info in chain:
            attributes.update(info.members, info.stored, info.fields)
            surprises.extend(f"{info.name} {reason}" for reason in info.surprises)
            surprises.extend(_of_definition(info))
        for base in outside:
            names = known_attributes(base)
            if names is None:
                surprises.append(f"base {base or 'computed'} is not known")
            else:
                attributes.update(names)
        is_enum = any(base in {f"enum.{name}" for name in ENUM_BASES} for base in outside)
        if is_enum:
            attributes.update(ON_ANY_ENUM)
        return Shape(
            attributes=frozenset(attributes),
            surprises=tuple(surprises),
            is_enum=is_enum,
            is_protocol=chain[0].bases != () and any(base in _PROTOCOLS for base in chain[0].bases),
            is_text="enum.StrEnum" in outside or "builtins.str" in outside,
            members=frozenset(name for info in chain for name in info.members) if is_enum else frozenset(),
        )

    def class_lacks(self, key: str, name: str) -> bool:
        """Certain that the class itself (not its objects) has no attribute of that name."""
        return self.of(key).lacks(name) and name not in ON_ANY_CLASS


def _of_definition(info: ClassInfo) -> list[str]:
    found = [
        f"decorator {name} of {info.name} is not known" for name in info.decorators if name not in HARMLESS_DECORATORS
    ]
    for keyword in info.node.keywords:
        if keyword.arg == "metaclass" and dotted(keyword.value) not in HARMLESS_METACLASSES:
            found.append(f"metaclass of {info.name} is not known")
        if keyword.arg is None or keyword.arg == "extra":
            found.append(f"{info.name} takes extra attributes")
    config = info.members.get("model_config") or info.members.get("Config")
    if config is not None and _allows_extra(info.node):
        found.append(f"{info.name} takes extra attributes")
    return found


def _allows_extra(node: ast.ClassDef) -> bool:
    """`extra="allow"` in the configuration of a pydantic model, or a configuration that is computed."""
    for statement in node.body:
        text = ast.unparse(statement) if isinstance(statement, ast.Assign | ast.AnnAssign | ast.ClassDef) else ""
        if ("model_config" in text or "Config" in text) and "extra" in text:
            return "allow" in text or not ("ignore" in text or "forbid" in text)
    return False
