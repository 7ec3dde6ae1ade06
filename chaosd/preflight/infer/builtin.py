"""What Python's own functions and the methods of str, bytes and containers give, as far as the rules need it."""

from __future__ import annotations

from collections.abc import Mapping

from chaosd.preflight.infer import library
from chaosd.preflight.infer.values import (
    BYTES,
    NOTHING,
    NUMBER,
    STR,
    UNKNOWN,
    Container,
    Instance,
    Made,
    Method,
    Row,
    Scalar,
    Values,
    awaited,
    container,
    elements,
    join,
    one,
    opened,
    row,
    same_kind,
    texts,
)

_SAME_KIND = frozenset(
    "capitalize center expandtabs join ljust lower lstrip removeprefix removesuffix replace rjust rstrip strip "
    "swapcase title translate upper zfill casefold format".split()
)
_SAME_KIND_LIST = frozenset({"split", "rsplit", "splitlines"})
_NUMBERS = frozenset({"len", "int", "hash", "id", "ord"})
_TEXTS = frozenset({"str", "repr", "chr", "format", "ascii", "hex", "bin"})
_COPIES = frozenset({"list", "tuple", "set", "frozenset", "sorted", "reversed", "iter"})
_TRUTHS = frozenset({"isinstance", "issubclass", "hasattr", "callable", "any", "all"})


def of_method(method: Method, arguments: list[Values], keywords: Mapping[str, Values]) -> Values:
    """What a method of a builtin value gives."""
    if isinstance(method.receiver, Container):
        return _of_container(method.receiver, method.name, arguments)
    if isinstance(method.receiver, Made | Instance):
        return UNKNOWN
    if method.receiver.kind == "datetime.datetime":
        return library.of_moment(method.receiver, method.name, arguments, keywords)
    kind = method.receiver.kind
    if kind not in {"str", "bytes"}:
        return UNKNOWN
    if method.name == "decode":
        return STR
    if method.name == "encode":
        return BYTES
    if method.name in _SAME_KIND:
        return same_kind(one(method.receiver))
    if method.name in _SAME_KIND_LIST:
        return container(mapping=False, item=same_kind(one(method.receiver)))
    if method.name in {"partition", "rpartition"}:
        return row(*[same_kind(one(method.receiver))] * 3)
    if method.name.startswith("is") or method.name in {"startswith", "endswith"}:
        return one(Scalar("bool"))
    return NUMBER if method.name in {"find", "rfind", "index", "rindex", "count"} else UNKNOWN


def _of_container(receiver: Container, name: str, arguments: list[Values]) -> Values:
    if receiver.mapping:
        if name in {"get", "pop", "setdefault"}:
            return _got(receiver, arguments)
        if name == "items":
            return container(mapping=False, item=row(receiver.key, receiver.item))
        if name in {"keys", "values"}:
            return container(mapping=False, item=receiver.key if name == "keys" else receiver.item)
    elif name in {"pop", "popleft"}:
        return receiver.item
    return one(receiver) if name == "copy" else UNKNOWN


def _got(receiver: Container, arguments: list[Values]) -> Values:
    """What `get`, `pop` or `setdefault` gives; not the written-out value alone: the dict may have changed meanwhile."""
    names = texts(arguments[0]) if arguments else None
    fields = dict(receiver.fields or ())
    if names is not None and all(name in fields for name in names):
        return opened(join(*(fields[name] for name in names)))
    return join(receiver.item, *arguments[1:2]) if receiver.fields is None else UNKNOWN


def of_function(name: str, arguments: list[Values]) -> Values:
    """What a builtin function gives."""
    if name in _TEXTS:
        return STR
    if name in _NUMBERS:
        return NUMBER
    if name == "bytes":
        return BYTES
    if name in _TRUTHS or name == "bool":
        return one(Scalar("bool"))
    first = arguments[0] if arguments else None
    if first is None:
        return container(mapping=False, is_set=True) if name in {"set", "frozenset"} else UNKNOWN
    if name in _COPIES:
        return container(mapping=False, item=elements(first), is_set=name in {"set", "frozenset"})
    if name == "enumerate":
        return container(mapping=False, item=row(NUMBER, elements(first)))
    if name == "zip":
        return container(mapping=False, item=row(*map(elements, arguments)))
    if name in {"next", "anext", "min", "max"}:
        return join(elements(first), *arguments[1:]) if len(arguments) == 1 or name == "next" else join(*arguments)
    return _copied_mapping(first) if name == "dict" else UNKNOWN


def _copied_mapping(values: Values) -> Values:
    whole = all(isinstance(atom, Container) and atom.mapping for atom in values.atoms)
    return values if whole and values.atoms else UNKNOWN


def of_library(path: str, arguments: list[Values]) -> Values:
    """What a function of the standard library gives, where it hands its argument through."""
    if path in {"asyncio.wait_for", "asyncio.shield", "copy.copy", "copy.deepcopy"} and arguments:
        return arguments[0]
    if path in {"asyncio.run", "anyio.run"} and arguments:
        return awaited(arguments[0])
    return UNKNOWN


def item_of(values: Values, index: int | None, *, sliced: bool) -> Values:
    """What `values[index]` gives; `index` is None when it is computed."""
    parts = [_item(atom, index, sliced=sliced) for atom in values.atoms]
    return join(*parts, UNKNOWN if values.open else NOTHING)


def _item(atom: object, index: int | None, *, sliced: bool) -> Values:
    if isinstance(atom, Container):
        return one(atom) if sliced else atom.item
    if isinstance(atom, Row):
        if sliced:
            return container(mapping=False, item=join(*atom.parts))
        if index is not None and -len(atom.parts) <= index < len(atom.parts):
            return atom.parts[index]
        return join(*atom.parts)
    if isinstance(atom, Scalar) and atom.kind in {"str", "bytes"}:
        return same_kind(one(atom)) if sliced or atom.kind == "str" else NUMBER
    return UNKNOWN
