"""What a call gives, and what it makes flow into the parameters of the callee."""

from __future__ import annotations

import ast
from dataclasses import dataclass, replace

from chaosd.preflight.index.declared import ClassInfo, FunctionInfo
from chaosd.preflight.index.source import Source
from chaosd.preflight.infer import builtin, library, redis
from chaosd.preflight.infer.annotations import promised
from chaosd.preflight.infer.attributes import is_mock, result
from chaosd.preflight.infer.records import as_dict
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
    Provider,
    RedisCommand,
    Scalar,
    Site,
    SuperOf,
    Values,
    join,
    one,
    texts,
)
from chaosd.preflight.infer.world import World

_ONLY_LOOK = frozenset({"isinstance", "issubclass", "hasattr", "getattr", "type", "id", "repr", "str", "print", "len"})
_LEAVE_AS_IT_IS = _ONLY_LOOK | frozenset(
    "dumps dump loads packb encode deepcopy copy dict list tuple set frozenset sorted sum min max any all iter next "
    "enumerate zip map filter reversed bool int float bytes Thread create_task gather wait_for shield run".split()
)
_WRITE = frozenset("update setdefault pop popitem clear".split())
_OPTIONS_OF_REPLIES = frozenset({"withscores", "count", "score_cast_func", "desc", "byscore"})


@dataclass(frozen=True, slots=True)
class Arguments:
    """The evaluated arguments of a call. `spread`: it has `*args` or `**kwargs`, so more may be passed."""

    positional: tuple[Values, ...]
    keywords: dict[str, Values]
    spread: bool
    node: ast.Call
    source: Source
    cls: ClassInfo | None

    @property
    def site(self) -> Site:
        """Where the call stands."""
        return Site(self.source.path, self.node.lineno)

    def given(self, name: str, at: int | None = None) -> Values | None:
        """The argument of that name or place, None when it is not passed by either."""
        if name in self.keywords:
            return self.keywords[name]
        return self.positional[at] if at is not None and at < len(self.positional) else None


def call(world: World, callee: Values, arguments: Arguments) -> Values:
    """The values of a call, of every alternative of its callee."""
    if callee.open or not all(map(_only_looks, callee.atoms)):
        _hand_around(world, arguments)
    if callee.open or any(map(_may_change, callee.atoms)):
        for values in (*arguments.positional, *arguments.keywords.values()):
            world.write(values, None, arguments.source, arguments.node)
    parts = [_call(world, atom, arguments) for atom in callee.atoms]
    return join(*parts, UNKNOWN if callee.open else NOTHING)


def _only_looks(atom: Atom) -> bool:
    return isinstance(atom, External) and (
        atom.dotted.rpartition(".")[2] in _ONLY_LOOK or library.builds(atom.dotted) is not None
    )


def _may_change(atom: Atom) -> bool:
    """Whether a callee may change a dict that it is given."""
    if isinstance(atom, External):
        return atom.dotted.rpartition(".")[2] not in _LEAVE_AS_IT_IS and library.builds(atom.dotted) is None
    return not isinstance(atom, FunctionRef | ClassRef | Method | RedisCommand | Provider)


def _hand_around(world: World, arguments: Arguments) -> None:
    for values in (*arguments.positional, *arguments.keywords.values()):
        escape(world, values)


def escape(world: World, values: Values) -> None:
    """Functions and classes among the values may from now on be called by anybody."""
    for atom in values.atoms:
        if isinstance(atom, FunctionRef):
            world.escape(atom.function)
        elif isinstance(atom, ClassRef):
            world.escape(atom.cls)


def _call(world: World, atom: Atom, arguments: Arguments) -> Values:
    if isinstance(atom, FunctionRef):
        function = world.project.functions[atom.function]
        pass_to(world, function, arguments, skip=1 if atom.bound else 0)
        return result(world, function)
    if isinstance(atom, ClassRef):
        return _construct(world, atom, arguments)
    if isinstance(atom, RedisCommand):
        plain = not arguments.spread and not (_OPTIONS_OF_REPLIES & arguments.keywords.keys())
        few = len(arguments.positional) <= (1 if atom.name in {"lpop", "rpop", "spop", "srandmember"} else 3)
        return redis.reply(atom.client, atom.name, plain=plain and few)
    if isinstance(atom, Provider):
        return atom.values
    if isinstance(atom, Method) and isinstance(atom.receiver, Instance):
        plain = not arguments.spread and not arguments.positional and not arguments.keywords
        return as_dict(world, one(atom.receiver), arguments.site, frozenset({"pydantic"})) if plain else UNKNOWN
    if isinstance(atom, Method):
        _write_by_method(world, atom, arguments)
        return builtin.of_method(atom, list(arguments.positional), arguments.keywords)
    return _library(world, atom, arguments) if isinstance(atom, External) else UNKNOWN


def _write_by_method(world: World, atom: Method, arguments: Arguments) -> None:
    if isinstance(atom.receiver, Container) and atom.name in _WRITE:
        key = arguments.positional[0] if atom.name in {"setdefault", "pop"} and arguments.positional else UNKNOWN
        names: list[str] | list[None] = texts(key) or [None]
        for name in names:
            world.write(one(atom.receiver), name, arguments.source, arguments.node)


def _provided(world: World, arguments: Arguments) -> Values:
    """What a provider of dependency_injector gives: its first argument, called with the others."""
    if not arguments.positional:
        return UNKNOWN
    given, *others = map(_unwrapped, arguments.positional)
    keywords = {name: _unwrapped(values) for name, values in arguments.keywords.items()}
    inner = replace(arguments, positional=tuple(others), keywords=keywords)
    parts = [_call(world, atom, inner) for atom in given.atoms]
    return one(Provider(join(*parts, UNKNOWN if given.open else NOTHING)))


def _unwrapped(values: Values) -> Values:
    parts = [atom.values if isinstance(atom, Provider) else one(atom) for atom in values.atoms]
    return join(*parts, UNKNOWN if values.open else NOTHING)


def _library(world: World, atom: External, arguments: Arguments) -> Values:
    path = atom.dotted
    if is_mock(path):
        return NOTHING
    if redis.client_kind(path) is not None:
        return _redis(path, arguments)
    positional = list(arguments.positional)
    module, _, name = path.rpartition(".")
    if name == "super" and module == "builtins":
        return one(SuperOf(arguments.cls.key)) if arguments.cls is not None and not positional else UNKNOWN
    if name == "cast" and module in {"typing", "typing_extensions"} and arguments.node.args:
        said = promised(world.project, arguments.source.module, arguments.node.args[0])
        return UNKNOWN if said is None else said
    if path == "dataclasses.field":
        return _field(world, arguments)
    if path in {"dataclasses.asdict", "attrs.asdict", "attr.asdict"}:
        plain = len(positional) == 1 and not arguments.keywords and not arguments.spread
        return as_dict(world, positional[0], arguments.site, frozenset({"dataclass", "attrs"})) if plain else UNKNOWN
    kind = library.builds(path)
    if kind == "provider":
        return _provided(world, arguments)
    if kind == "producer":
        given = None if arguments.spread else frozenset(arguments.keywords)
        return one(Made(path, given, arguments.site))
    if arguments.spread:
        return UNKNOWN
    if kind is not None:
        return library.made(path, arguments.positional, arguments.keywords)
    return builtin.of_function(name, positional) if module == "builtins" else builtin.of_library(path, positional)


def _field(world: World, arguments: Arguments) -> Values:
    default = arguments.given("default")
    if default is not None:
        return default
    factory = arguments.given("default_factory")
    if factory is None:
        return NOTHING
    none = Arguments((), {}, spread=False, node=arguments.node, source=arguments.source, cls=arguments.cls)
    return join(*(_call(world, atom, none) for atom in factory.atoms), UNKNOWN if factory.open else NOTHING)


def _redis(path: str, arguments: Arguments) -> Values:
    kind = redis.client_kind(path)
    pool = arguments.given("connection_pool", 0 if kind == "from_pool" else None)
    if kind == "from_pool" and pool is None:
        return UNKNOWN
    mode = arguments.given("decode_responses")
    if mode is None and arguments.spread:
        return UNKNOWN
    if mode is None and path.endswith("from_url"):
        mode = _mode_in_url(arguments)
    return redis.built(path, mode, pool, arguments.site)


def _mode_in_url(arguments: Arguments) -> Values | None:
    """redis-py takes `decode_responses` from the query of the URL too; any text there is true."""
    for node in arguments.node.args[:1]:
        if "decode_responses" in ast.unparse(node):
            return one(Scalar("bool", truth=True)) if isinstance(node, ast.Constant) else UNKNOWN
    return None


def _construct(world: World, atom: ClassRef, arguments: Arguments) -> Values:
    shape = world.shapes.of(atom.cls)
    if shape.is_enum:
        return one(Instance(atom.cls, exact=True))
    chain, outside = world.project.lineage(atom.cls)
    if world.method(atom.cls, "__new__") is not None or any("metaclass" in why for why in shape.surprises):
        return UNKNOWN
    init = world.method(atom.cls, "__init__")
    if init is not None:
        pass_to(world, init, arguments, skip=1)
    else:
        _fill_fields(world, chain, arguments)
    mocked = any(base is not None and is_mock(base) for base in outside)
    return NOTHING if mocked else one(Instance(atom.cls, exact=atom.exact))


def _fill_fields(world: World, chain: list[ClassInfo], arguments: Arguments) -> None:
    """The constructor that dataclasses, pydantic models and structs write for themselves."""
    owners = {name: info for info in reversed(chain) for name in info.fields}
    for at, (name, info) in enumerate(owners.items()):
        values = arguments.given(name, at)
        if arguments.spread and values is None:
            values = UNKNOWN
        if values is not None:
            world.flow(("attribute", info.key, name), values, arguments.source, arguments.node, into=info.source)


def pass_to(world: World, function: FunctionInfo, arguments: Arguments, *, skip: int) -> None:
    """Let the arguments flow into the parameters; `skip` of them are bound already."""
    spec = function.node.args
    places = [item.arg for item in (*spec.posonlyargs, *spec.args)][skip:]
    if function.is_static and skip:
        places = [item.arg for item in (*spec.posonlyargs, *spec.args)]
    names = [*places, *(item.arg for item in spec.kwonlyargs)]
    for name in names:
        values = arguments.given(name, places.index(name) if name in places else None)
        if arguments.spread and name not in arguments.keywords:
            values = UNKNOWN
        if values is None:
            values = world.look(("default", function.key, name)) or NOTHING
            world.flow(("omitted", function.key, name), NOTHING, arguments.source, arguments.node, into=function.source)
        key = ("parameter", function.key, name)
        world.flow(key, values, arguments.source, arguments.node, into=function.source)
