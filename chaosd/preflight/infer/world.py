"""What is known between rounds: which values flow into parameters, attributes, globals and out of functions."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from chaosd.preflight.index.declared import ClassInfo, FunctionInfo
from chaosd.preflight.index.project import Project
from chaosd.preflight.index.shape import Shapes
from chaosd.preflight.index.source import Source
from chaosd.preflight.infer.values import NOTHING, UNKNOWN, Container, Site, Values, join, opened

Flow = tuple["Key", Values, Site, bool]  # what flows, where to, from where, and whether a test lets it
Key = tuple[str, str, str]  # (what, where, name): ("parameter", function, "client"), ("return", function, "")


@dataclass(slots=True)
class Flows:
    """The values that reach each place in one round from some code, those of tests apart from those of the product.

    `escaped` are functions and classes that are handed around, `sites` the places in the product
    that feed an attribute or a parameter.
    """

    product: dict[Key, Values] = field(default_factory=dict)
    tests: dict[Key, Values] = field(default_factory=dict)
    escaped: set[str] = field(default_factory=set)
    sites: dict[Key, set[tuple[Site, Values]]] = field(default_factory=dict)
    written: dict[str, set[str]] = field(
        default_factory=dict
    )  # by the place of a dict: keys it gets later, "*" for any

    def add(self, key: Key, values: Values, site: Site, test: bool) -> None:  # noqa: FBT001
        """Let `values` flow to `key`. Flows from tests count only where the product has none."""
        what = key[0]
        if what == "escaped":
            self.escaped.add(key[1])
            return
        if what == "written":
            self.written.setdefault(key[1], set()).add(key[2])
            return
        table = self.tests if test else self.product
        before = table.get(key)
        table[key] = values if before is None or before is values else join(before, values)
        if not test and what in {"attribute", "parameter", "omitted"}:
            self.sites.setdefault(key, set()).add((site, values))

    def changed(self, origin: str, key: str | None) -> bool:
        """Whether the dict written out at `origin` gets `key` later (None: any key)."""
        keys = self.written.get(origin)
        return bool(keys) if key is None or not keys else key in keys or "*" in keys

    def changed_since(self, before: Flows) -> set[Key]:
        """The keys that hold something else than in the round before."""
        keys = {("escaped", name, "") for name in self.escaped ^ before.escaped}
        for now, then in ((self.product, before.product), (self.tests, before.tests)):
            keys |= {key for key, values in now.items() if then.get(key) != values}
            keys |= then.keys() - now.keys()
        origins = self.written.keys() | before.written.keys()
        return keys | {("written", o, "") for o in origins if self.written.get(o) != before.written.get(o)}

    def get(self, key: Key) -> Values | None:
        """What reaches `key`, None when nothing was seen to."""
        found = self.product.get(key)
        return self.tests.get(key) if found is None else found


def together(parts: Iterable[Flows]) -> Flows:
    """What flows from several pieces of code, joined in their order."""
    whole = Flows()
    for part in parts:
        for table, more in ((whole.product, part.product), (whole.tests, part.tests)):
            for key, values in more.items():
                before = table.get(key)
                table[key] = values if before is None or before is values else join(before, values)
        whole.escaped |= part.escaped
        for key, sites in part.sites.items():
            whole.sites[key] = whole.sites[key] | sites if key in whole.sites else sites
        for origin, keys in part.written.items():
            whole.written[origin] = whole.written[origin] | keys if origin in whole.written else keys
    return whole


class Use(NamedTuple):
    """A node that rules look at, where it stands and how sure it is to run.

    `guarded`: inside a `try` that expects an AttributeError or TypeError. `certain`: runs whenever its function is
    called and not left by an exception.
    """

    source: Source
    node: ast.AST
    function: FunctionInfo | None
    guarded: bool
    certain: bool
    told: bool  # inside a message for people: a logging call, print, raise or assert


@dataclass(slots=True)
class Record:
    """What the last round saw: the value of every expression, and the nodes that rules ask for, by their type."""

    values: dict[ast.AST, Values] = field(default_factory=dict)
    uses: dict[type[ast.AST], list[Use]] = field(default_factory=dict)

    def add(self, other: Record) -> None:
        """Take in the record of another module."""
        self.values.update(other.values)
        for kind, uses in other.uses.items():
            self.uses.setdefault(kind, []).extend(uses)

    def of(self, node: ast.AST) -> Values:
        """The value of an expression; UNKNOWN when it was never reached."""
        return self.values.get(node, UNKNOWN)


RECORDED: frozenset[type[ast.AST]] = frozenset(
    {
        ast.Call,
        ast.Attribute,
        ast.Compare,
        ast.Subscript,
        ast.BinOp,
        ast.FormattedValue,
        ast.Return,
        ast.Await,
        ast.Expr,
        ast.Match,
        ast.For,
        ast.If,
        ast.Dict,
    }
)


@dataclass(slots=True)
class World:
    """The project, the flows of the round before (`known`), and those (`seen`) and the record of the module that is
    being interpreted.

    `reads` and `given` are what the module that is being interpreted asked for, and what it let flow.
    """

    project: Project
    shapes: Shapes
    known: Flows = field(default_factory=Flows)
    seen: Flows = field(default_factory=Flows)
    record: Record = field(default_factory=Record)
    reads: set[Key] = field(default_factory=set)
    given: list[Flow] = field(default_factory=list)

    def flow(self, key: Key, values: Values, source: Source, node: ast.AST, *, into: Source | None = None) -> None:
        """Let `values` flow to `key` from `node`; a test feeding the product is told apart."""
        site = Site(source.path, getattr(node, "lineno", 1))
        flow = (key, values, site, source.is_test and not (into is not None and into.is_test))
        self.given.append(flow)
        self.seen.add(*flow)

    def escape(self, key: str) -> None:
        """A function or class is handed around: others may call it with anything."""
        self.given.append((("escaped", key, ""), NOTHING, Site("", 0), False))
        self.seen.escaped.add(key)

    def write(self, values: Values, key: str | None, source: Source, node: ast.AST) -> None:
        """A dict gets a key (None: any key) after it was written out."""
        for atom in values.atoms:
            if isinstance(atom, Container):
                for origin in atom.origins:
                    self.flow(("written", str(origin), "*" if key is None else key), NOTHING, source, node)

    def written(self, atom: Container, key: str | None = None) -> bool:
        """Whether a dict that was written out may hold something else under a key (None: under any) by now."""
        origins = [str(origin) for origin in atom.origins]
        self.reads.update(("written", origin, "") for origin in origins)
        return any(self.known.changed(origin, key) for origin in origins)

    def look(self, key: Key) -> Values | None:
        """What the round before saw reach `key`. All reading goes through here: it decides who is interpreted again."""
        self.reads.add(key)
        return self.known.get(key)

    def global_(self, module: str, name: str) -> Values:
        """A module-level variable."""
        found = self.look(("global", module, name))
        return UNKNOWN if found is None else found

    def fed(self, function: FunctionInfo, name: str) -> Values | None:
        """What call sites pass for a parameter, None when there are none."""
        found = self.look(("parameter", function.key, name))
        return opened(found) if found is not None and self._called_by_others(function) else found

    def _called_by_others(self, function: FunctionInfo) -> bool:
        self.reads.update((("escaped", function.key, ""), ("escaped", function.cls or "", "")))
        if function.key in self.known.escaped or (function.name == "__init__" and function.cls in self.known.escaped):
            return True
        if function.cls is None or function.name == "__init__":
            return False
        _, outside = self.project.lineage(function.cls)
        return function.name.startswith("__") or (bool(outside) and bool(self.shapes.of(function.cls).surprises))

    def stored(self, classes: list[ClassInfo], name: str) -> Values | None:
        """What any of the classes stores under an attribute, None when none does."""
        found = [self.look(("attribute", info.key, name)) for info in classes]
        known = [values for values in found if values is not None]
        return join(*known) if known else None

    def method(self, cls: str, name: str) -> FunctionInfo | None:
        """The method that an object of exactly this class would run."""
        for info in self.project.lineage(cls)[0]:
            if name in info.methods:
                return info.methods[name]
            if name in info.members:
                return None
        return None

    def returned(self, function: FunctionInfo, *, what: str = "return") -> Values:
        """What a function was seen to return (or yield)."""
        found = self.look((what, function.key, ""))
        return UNKNOWN if found is None else found
