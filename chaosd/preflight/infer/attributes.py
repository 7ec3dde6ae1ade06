"""What `value.name` is."""

from __future__ import annotations

import builtins

from chaosd.preflight.index.declared import ClassInfo, FunctionInfo, InProject, Outside, Resolved
from chaosd.preflight.infer import library
from chaosd.preflight.infer.annotations import promised
from chaosd.preflight.infer.records import is_dumper
from chaosd.preflight.infer.values import (
    NOTHING,
    UNKNOWN,
    Atom,
    ClassRef,
    Container,
    External,
    FunctionRef,
    Instance,
    Made,
    Method,
    ModuleRef,
    Provider,
    RedisClient,
    RedisCommand,
    Scalar,
    SuperOf,
    Values,
    join,
    one,
    opened,
    pending,
)
from chaosd.preflight.infer.world import World

_MOCKS = ("unittest.mock", "mock.", "pytest_mock", "asyncmock")
_PLAIN_DECORATORS = frozenset(
    "staticmethod classmethod property cached_property abstractmethod override final cache lru_cache "
    "contextmanager asynccontextmanager no_type_check".split()
)
_EXACT_MAX = 3  # classes known to be passed, kept beside the one that an annotation names
_SINGLE_ITEM_MANAGERS = frozenset({"contextmanager", "asynccontextmanager"})


def is_mock(path: str) -> bool:
    """A stand-in that answers everything: it says nothing about the real collaborator."""
    return path.startswith(_MOCKS) or path.rpartition(".")[2] in {"Mock", "MagicMock", "AsyncMock", "create_autospec"}


def attribute(world: World, values: Values, name: str) -> Values:
    """The values of an attribute, of every alternative."""
    parts = [_of(world, atom, name) for atom in values.atoms]
    return join(*parts, UNKNOWN if values.open else NOTHING)


def _of(world: World, atom: Atom, name: str) -> Values:
    if isinstance(atom, Instance):
        return _of_instance(world, atom, name)
    if isinstance(atom, ClassRef):
        return _of_class(world, atom, name)
    if isinstance(atom, ModuleRef):
        return module_member(world, atom.name, name)
    if isinstance(atom, External):
        return _of_external(world, atom, name)
    if isinstance(atom, SuperOf):
        chain = world.project.lineage(atom.cls)[0][1:]
        return _member(world, chain, Instance(atom.cls), name)
    if isinstance(atom, RedisClient):
        return UNKNOWN if atom.pool else one(RedisCommand(atom, name))
    if isinstance(atom, Scalar | Container | Made):
        return one(Method(atom, name))
    if isinstance(atom, Provider):
        return one(atom) if name == "provider" else UNKNOWN
    return UNKNOWN


def _of_external(world: World, atom: External, name: str) -> Values:
    path = f"{atom.dotted}.{name}"
    known = library.constant(path)
    if known is not None:
        return known
    return NOTHING if is_mock(path) else from_resolved(world, world.project.absolute("", path))


def from_resolved(world: World, found: Resolved | None) -> Values:
    """The value of a name that was followed to its definition."""
    if isinstance(found, ClassInfo):
        return one(ClassRef(found.key))
    if isinstance(found, FunctionInfo):
        return function_value(world, found, bound=False)
    if isinstance(found, InProject):
        return one(ModuleRef(found.module))
    if isinstance(found, Outside):
        return NOTHING if is_mock(found.path) else one(External(found.path))
    return UNKNOWN


def module_member(world: World, module: str, name: str) -> Values:
    """A name of a project module: a definition, an import, or a variable."""
    found = world.project.member("", module, name)
    if found is not None:
        return from_resolved(world, found)
    declared = world.project.modules.get(module)
    if declared is not None and name not in declared.names.unsure:
        for star in declared.names.stars:
            target = world.project.find_module(module, star)
            if target is not None:
                return world.global_(target, name)
    bound = declared.names.bound.get(name) if declared is not None else None
    if bound is not None and not isinstance(bound, str) and bound.name is not None:
        target = world.project.find_module(module, bound.module)
        if target is not None and target != module:
            return world.global_(target, bound.name)
    return world.global_(module, name)


def builtin(name: str) -> Values:
    """A name that only Python itself defines."""
    return one(External(f"builtins.{name}")) if hasattr(builtins, name) else UNKNOWN


def function_value(world: World, function: FunctionInfo, *, bound: bool) -> Values:
    """A function as its name sees it; one under a decorator that is not understood is unknown."""
    if any(name.rpartition(".")[2] not in _PLAIN_DECORATORS for name in function.decorators):
        world.escape(function.key)
        return UNKNOWN
    return one(FunctionRef(function.key, bound))


def result(world: World, function: FunctionInfo) -> Values:
    """What calling a function gives."""
    module = function.source.module
    kinds = {name.rpartition(".")[2] for name in function.decorators}
    yields = world.look(("yields", function.key, "")) is not None
    said = promised(world.project, module, function.node.returns)
    if said is not None and not _vague(world, said):
        given = said if yields else world.returned(function)
        found = given if _same_but_closer(said, given) else said
    elif yields:
        found = one(Container(mapping=False, key=NOTHING, item=world.returned(function, what="yield")))
    else:
        found = world.returned(function)
    if kinds & _SINGLE_ITEM_MANAGERS:
        items = [atom.item if isinstance(atom, Container) else UNKNOWN for atom in found.atoms]
        return pending(join(*items, UNKNOWN if found.open else NOTHING))
    is_async = type(function.node).__name__ == "AsyncFunctionDef"
    return pending(found) if is_async and not yields else found


def _vague(world: World, values: Values) -> bool:
    """An annotation that only names a protocol: what is really there is better asked of the code."""
    return any(isinstance(atom, Instance) and world.shapes.of(atom.cls).is_protocol for atom in values.atoms)


def combined(world: World, said: Values | None, fed: Values | None) -> Values:
    """What a place holds whose annotation says one thing and whose sources (None: none seen) another.

    A class named by an annotation is believed, alternatives that are fed beside it are added. A protocol, or an
    annotation without use for the rules, gives way to what is fed. A Redis reply fed to an annotated `str` is what
    it is, whatever the annotation says.
    """
    if said is None:
        return UNKNOWN if fed is None else fed
    if fed is None:
        return opened(said) if _vague(world, said) else said
    if _vague(world, said):
        return fed
    if _has_reply(fed) and not fed.open:
        return fed
    named = {atom.cls for atom in said.atoms if isinstance(atom, Instance | ClassRef)}
    if not named:
        return fed if _same_but_closer(said, fed) else said
    under = named.union(*(world.project.subclasses.get(cls, set()) for cls in named))
    others = {atom for atom in fed.atoms if not (isinstance(atom, Instance | ClassRef) and atom.cls in under)}
    if any(_is_typed_dict(world, cls) for cls in named):
        others = {atom for atom in others if not isinstance(atom, Container)}
    exact = {atom for atom in fed.atoms - others if isinstance(atom, Instance) and atom.exact}
    return Values(said.atoms | others | (exact if len(exact) <= _EXACT_MAX else set()), said.open)


def _is_typed_dict(world: World, cls: str) -> bool:
    return any(base is not None and base.endswith(".TypedDict") for base in world.project.lineage(cls)[1])


def _same_but_closer(said: Values, fed: Values) -> bool:
    """A dict or list was announced, and all that comes is one, written out or with items of which more is known."""
    kinds = {(atom.mapping, atom.is_set) for atom in said.atoms if isinstance(atom, Container)}
    if fed.open or not fed.atoms or len(kinds) != len(said.atoms):
        return False
    return all(
        isinstance(atom, Container) and atom.fields is not None and (atom.mapping, atom.is_set) in kinds
        for atom in fed.atoms
    )


def _has_reply(values: Values) -> bool:
    for atom in values.atoms:
        if isinstance(atom, Scalar) and atom.origin is not None:
            return True
        if isinstance(atom, Container) and (_has_reply(atom.item) or _has_reply(atom.key)):
            return True
    return False


def _of_instance(world: World, atom: Instance, name: str) -> Values:
    chain = world.project.lineage(atom.cls)[0]
    return _seen_from_object(world, chain, _held(world, atom, chain, name), name)


def _seen_from_object(world: World, chain: list[ClassInfo], values: Values, name: str) -> Values:
    """What a class's own variable is to its objects: a descriptor gives something else, a function becomes a method."""
    if not any(name in info.members and name not in info.methods for info in chain):
        return values
    for atom in values.atoms:
        unbound = isinstance(atom, FunctionRef) and not atom.bound
        if unbound or (isinstance(atom, Instance) and "__get__" in world.shapes.of(atom.cls).attributes):
            return UNKNOWN
    return values


def _held(world: World, atom: Instance, chain: list[ClassInfo], name: str) -> Values:
    if is_dumper(world, atom.cls, name):
        return one(Method(atom, name))
    if atom.exact:
        return _member(world, chain, atom, name)
    parts = [_member(world, chain, atom, name)]
    for sub in sorted(world.project.subclasses.get(atom.cls, ())):
        info = world.project.classes[sub]
        if name in info.members or name in info.stored:
            parts.append(_member(world, [info], atom, name))
    return join(*parts)


def _member(world: World, chain: list[ClassInfo], atom: Instance, name: str) -> Values:
    for info in chain:
        method = info.methods.get(name)
        if method is not None and name not in info.stored:
            if method.is_property:
                return result(world, method)
            return function_value(world, method, bound=not method.is_static)
        if name in info.members or name in info.stored or name in info.fields:
            return _variable(world, chain, info, name)
    return UNKNOWN


def _variable(world: World, chain: list[ClassInfo], info: ClassInfo, name: str) -> Values:
    nested = world.project.classes.get(f"{info.key}.{name}")
    if nested is not None:
        return one(ClassRef(nested.key))
    owner = next((c for c in chain if name in c.fields), None)
    if owner is None:
        return combined(world, None, world.stored(chain, name))
    promise = promised(world.project, owner.source.module, owner.fields[name].annotation)
    fed = world.stored(chain, name)
    if promise is None and fed is not None and world.stored(chain[chain.index(owner) + 1 :], name) is not None:
        fed = opened(fed)  # declared anew, in words not understood, over what a base stores
    return combined(world, promise, fed)


def _of_class(world: World, atom: ClassRef, name: str) -> Values:
    shape = world.shapes.of(atom.cls)
    if shape.is_enum:
        nested = world.project.classes.get(f"{atom.cls}.{name}")
        if nested is not None:
            return one(ClassRef(nested.key))
        own = name in shape.members and world.method(atom.cls, name) is None
        return one(Instance(atom.cls, exact=True)) if own else UNKNOWN
    chain = world.project.lineage(atom.cls)[0]
    for info in chain:
        method = info.methods.get(name)
        if method is not None:
            return function_value(world, method, bound=method.is_class_method)
        if name in info.members:
            found = _variable(world, chain, info, name)
            held = [atom for atom in found.atoms if isinstance(atom, Instance)]
            return UNKNOWN if any("__get__" in world.shapes.of(atom.cls).attributes for atom in held) else found
    return UNKNOWN
