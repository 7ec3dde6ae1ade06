"""What an expression can be: a small lattice of abstract values.

`Values` is a set of atoms plus `open`: an open set may hold more than is listed. `UNKNOWN` (open, empty) is the top,
`NOTHING` (closed, empty) the bottom; `None` is NOTHING, since no rule asks about it, and so is a mock. A rule that
wants no false alarm demands a closed set and looks at every atom.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from operator import attrgetter
from typing import NamedTuple, TypeVar

_ATOMS_MAX = 8  # more alternatives than this say nothing useful, and would make joins quadratic
_FIELDS_MAX = 40  # of a dict that is written out: more is a table, not a record
_TEXT_MAX = 80  # of a constant: longer ones are prose
_DEPTH_MAX = 3  # of containers in containers: keeps the lattice finite for recursive structures


T = TypeVar("T")


def _sent(kind: type[T]) -> type[T]:
    """Let a frozen class go to another process by its fields: several times as quick as dataclasses do it."""
    names = [one.name for one in fields(kind)]  # type: ignore[arg-type]
    values = attrgetter(*names)
    single = len(names) == 1

    def reduced(self: T) -> tuple[type[T], tuple[object, ...]]:
        return kind, (values(self),) if single else values(self)

    kind.__reduce__ = reduced  # type: ignore[method-assign,assignment]
    return kind


class Site(NamedTuple):
    """A place in the source, `line` counts from 1."""

    path: str
    line: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}"


@_sent
@dataclass(frozen=True, slots=True)
class Scalar:
    """A plain value: `kind` is str, bytes, bool, int or float, or the dotted name of a type of the standard library.

    `truth` is the value of a constant bool, `text` that of a constant str. `origin` is the place where the Redis client
    that gave it was built, None for everything that is not a Redis reply. `nuance` says more of some kinds: `nan` of a
    float that no JSON can carry, `naive` or `aware` of a datetime.
    """

    kind: str
    truth: bool | None = None
    origin: Site | None = None
    text: str | None = None
    nuance: str = ""


@_sent
@dataclass(frozen=True, slots=True)
class Instance:
    """An object of a project class. `exact`: made by calling that class, so it is not a subclass.

    `own` marks `self` inside the class's own methods.
    """

    cls: str
    exact: bool = False
    own: bool = False


@_sent
@dataclass(frozen=True, slots=True)
class ClassRef:
    """A project class itself. `exact` is False for `cls` and `type[X]`, which may be a subclass."""

    cls: str
    exact: bool = True


@_sent
@dataclass(frozen=True, slots=True)
class FunctionRef:
    """A project function; `bound` when its first parameter is already taken."""

    function: str
    bound: bool = False


@_sent
@dataclass(frozen=True, slots=True)
class ModuleRef:
    """A module of the project, by its dotted name."""

    name: str


@_sent
@dataclass(frozen=True, slots=True)
class External:
    """Something of a library: the dotted path it is imported by."""

    dotted: str


@_sent
@dataclass(frozen=True, slots=True)
class SuperOf:
    """`super()` inside a method of `cls`."""

    cls: str


@_sent
@dataclass(frozen=True, slots=True)
class RedisClient:
    """A Redis client (or pool, where `pool`) of known decode mode, built at `origin`."""

    decodes: bool
    asynchronous: bool
    origin: Site
    pool: bool = False


@_sent
@dataclass(frozen=True, slots=True)
class RedisCommand:
    """A bound command of a client: `client.hgetall`."""

    client: RedisClient
    name: str


@_sent
@dataclass(frozen=True, slots=True)
class Container:
    """A dict (`key` → `item`) or anything iterable over `item`; for a dict iteration gives `key`.

    `mapping` tells which of both it is. `fields` are the keys and values of a dict that is written out in the source,
    at `origins`; None for any other. Whoever believes them asks first whether the dict was changed later
    (`World.written`). `is_set` tells sets from other things iterable.
    """

    mapping: bool
    key: Values
    item: Values
    is_set: bool = False
    fields: tuple[tuple[str, Values], ...] | None = None
    origins: frozenset[Site] = frozenset()


@_sent
@dataclass(frozen=True, slots=True)
class Row:
    """A tuple of fixed length: `parts[i]` is what stands at place i."""

    parts: tuple[Values, ...]


@_sent
@dataclass(frozen=True, slots=True)
class Method:
    """A bound method of a builtin value: `text.split`, `mapping.get`."""

    receiver: Scalar | Container | Made | Instance
    name: str


@_sent
@dataclass(frozen=True, slots=True)
class Made:
    """An object of a library's class, by dotted path. `given` are the keywords of its making, None if not all known."""

    dotted: str
    given: frozenset[str] | None
    origin: Site


@_sent
@dataclass(frozen=True, slots=True)
class Provider:
    """A provider of dependency_injector: called, it gives `values`; given to another provider, it is called first."""

    values: Values


@_sent
@dataclass(frozen=True, slots=True)
class Pending:
    """What must be awaited, or entered with `async with`, before it is `values`."""

    values: Values


Atom = (
    Scalar
    | Instance
    | ClassRef
    | FunctionRef
    | ModuleRef
    | External
    | SuperOf
    | RedisClient
    | RedisCommand
    | Container
    | Row
    | Method
    | Made
    | Provider
    | Pending
)


class Values(NamedTuple):
    """A set of alternatives; `open` when there may be others. A tuple: hundreds of thousands are made and compared."""

    atoms: frozenset[Atom] = frozenset()
    open: bool = False

    def __reduce__(self) -> tuple[object, ...]:
        """Sent to another process, the two that everybody compares with stay the very same."""
        return _values, (self.atoms, self.open)


def _values(atoms: frozenset[Atom], open_: bool) -> Values:  # noqa: FBT001
    return Values(atoms, open_) if atoms else UNKNOWN if open_ else NOTHING


UNKNOWN = Values(open=True)
NOTHING = Values()
STR = Values(frozenset({Scalar("str")}))
BYTES = Values(frozenset({Scalar("bytes")}))
NUMBER = Values(frozenset({Scalar("int")}))


def one(atom: Atom) -> Values:
    """The closed set of a single alternative."""
    return Values(frozenset({atom}))


def many(atoms: Iterable[Atom], *, open_: bool = False) -> Values:
    """A set of alternatives, cut to UNKNOWN when there are too many of them."""
    found = frozenset(atoms)
    return UNKNOWN if len(found) > _ATOMS_MAX else Values(found, open_)


def join(*sets: Values) -> Values:
    """Everything that any of the sets can be."""
    if len(sets) == 2:  # by far the most frequent
        one_, other = sets
        if one_ is other or other is NOTHING:
            return one_
        if one_ is NOTHING:
            return other
    elif len(sets) == 1:
        return sets[0]
    distinct = {values for values in sets if values is not NOTHING}
    if len(distinct) == 1:
        return next(iter(distinct))
    atoms = frozenset[Atom]().union(*(values.atoms for values in distinct))
    return many(_without_doubles(atoms), open_=any(values.open for values in distinct))


def _without_doubles(atoms: frozenset[Atom]) -> frozenset[Atom]:
    """Merge containers of one kind, and constants of one kind, so that their number stays bounded."""
    if len(atoms) < 2:
        return atoms
    texts = [atom for atom in atoms if isinstance(atom, Scalar) and atom.kind == "str" and atom.origin is None]
    if len(texts) > 1:
        atoms = atoms.difference(texts) | STR.atoms
    containers = [atom for atom in atoms if isinstance(atom, Container)]
    if len(containers) < 2:
        return atoms
    merged = set(atoms.difference(containers))
    for mapping, is_set in {(container.mapping, container.is_set) for container in containers}:
        same = [container for container in containers if (container.mapping, container.is_set) == (mapping, is_set)]
        merged.add(_merged(same) if len(same) > 1 else same[0])
    return frozenset(merged)


def _merged(same: list[Container]) -> Container:
    key, item = join(*(one_.key for one_ in same)), join(*(one_.item for one_ in same))
    fields: dict[str, Values] | None = {}
    for one_ in same:
        if one_.fields is None or fields is None:
            fields = None
            continue
        for name, values in one_.fields:
            fields[name] = join(fields[name], values) if name in fields else values
    origins = frozenset[Site]().union(*(one_.origins for one_ in same))
    known = None if fields is None or len(fields) > _FIELDS_MAX else tuple(sorted(fields.items(), key=lambda f: f[0]))
    return Container(same[0].mapping, key, item, same[0].is_set, known, origins)


@lru_cache(maxsize=65_536)
def text(constant: str) -> Values:
    """A constant of the source; a long one is any str."""
    return one(Scalar("str", text=constant)) if len(constant) <= _TEXT_MAX else STR


def texts(values: Values) -> list[str] | None:
    """The constants that an expression is for certain, None when it may be another text."""
    found = [atom.text for atom in values.atoms if isinstance(atom, Scalar) and atom.text is not None]
    return found if found and len(found) == len(values.atoms) and not values.open else None


def same_kind(values: Values) -> Values:
    """The same kinds, without what is known of their value."""
    atoms = frozenset(replace(a, text=None, truth=None) if isinstance(a, Scalar) else a for a in values.atoms)
    return values if atoms == values.atoms else Values(atoms, values.open)


def container(*, mapping: bool, key: Values = NOTHING, item: Values = UNKNOWN, is_set: bool = False) -> Values:
    """A container; one nested deeper than the lattice goes is UNKNOWN inside."""
    depth = max(_depth(key), _depth(item))
    if depth >= _DEPTH_MAX:
        return one(Container(mapping, UNKNOWN if mapping else NOTHING, UNKNOWN, is_set))
    return one(Container(mapping, key, item, is_set))


def written_dict(fields: dict[str, Values], origin: Site) -> Values:
    """A dict that is written out in the source with constant keys."""
    item = join(*map(same_kind, fields.values()))
    if not fields or len(fields) > _FIELDS_MAX or max(map(_depth, fields.values())) >= _DEPTH_MAX:
        return container(mapping=True, key=STR, item=opened(item))
    known = tuple(sorted(fields.items(), key=lambda field_: field_[0]))
    return one(Container(True, STR, item, fields=known, origins=frozenset({origin})))  # noqa: FBT003


def _depth(values: Values) -> int:
    nested = [0]
    for atom in values.atoms:
        if isinstance(atom, Container):
            nested.append(1 + max(_depth(atom.key), _depth(atom.item)))
        elif isinstance(atom, Pending | Provider):
            nested.append(1 + _depth(atom.values))
        elif isinstance(atom, Row):
            nested.append(1 + max(map(_depth, atom.parts), default=0))
    return max(nested)


def opened(values: Values) -> Values:
    """The same alternatives, and perhaps others."""
    return values if values.open else Values(values.atoms, open=True)


def pending(values: Values) -> Values:
    """What `await` turns into `values`."""
    return UNKNOWN if values == UNKNOWN or _depth(values) >= _DEPTH_MAX else one(Pending(values))


def awaited(values: Values) -> Values:
    """What `await` gives: pending alternatives are resolved, others are unknown."""
    parts = [atom.values if isinstance(atom, Pending) else UNKNOWN for atom in values.atoms]
    return join(*parts, UNKNOWN if values.open else NOTHING)


def elements(values: Values) -> Values:
    """What iterating gives."""
    return join(*map(_element, values.atoms), UNKNOWN if values.open else NOTHING)


def _element(atom: Atom) -> Values:
    if isinstance(atom, Container):
        return atom.key if atom.mapping else atom.item
    return join(*atom.parts) if isinstance(atom, Row) else UNKNOWN


def row(*parts: Values) -> Values:
    """A tuple of fixed length; one nested deeper than the lattice goes is UNKNOWN."""
    return UNKNOWN if max(map(_depth, parts), default=0) >= _DEPTH_MAX else one(Row(parts))


def unpacked(values: Values, at: int, of: int) -> Values:
    """What the name at place `at` of `of` names gets when `values` is unpacked."""
    parts = [
        atom.parts[at] if isinstance(atom, Row) and len(atom.parts) == of else _element(atom) for atom in values.atoms
    ]
    return join(*parts, UNKNOWN if values.open else NOTHING)
