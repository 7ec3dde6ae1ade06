"""Classes that are not the project's own but whose attributes are known, and decorators that add no method.

Builtins and enums are asked of the running interpreter; the rest are short lists of public names, so that nothing has
to be imported. The list for pydantic holds the names of both major versions: which one the user has is not known.
"""

from __future__ import annotations

import builtins
import enum

_PYDANTIC = """
    construct copy dict fields_set from_orm json model_computed_fields model_config model_construct model_copy
    model_dump model_dump_json model_extra model_fields model_fields_set model_json_schema
    model_parametrized_name model_post_init model_rebuild model_validate model_validate_json model_validate_strings
    parse_file parse_obj parse_raw schema schema_json update_forward_refs validate Config
""".split()
_EMPTY: dict[str, tuple[str, ...]] = {
    "abc.ABC": ("register",),
    "typing.Generic": (),
    "typing.Protocol": (),
    "typing_extensions.Protocol": (),
    "typing_extensions.Generic": (),
    "msgspec.Struct": (),
    "pydantic.BaseModel": tuple(_PYDANTIC),
    "pydantic.main.BaseModel": tuple(_PYDANTIC),
    "typing.NamedTuple": (*dir(tuple), "_asdict", "_replace", "_make", "_fields", "_field_defaults"),
}
HARMLESS_DECORATORS = frozenset(
    {
        "dataclass",
        "dataclasses.dataclass",
        "final",
        "typing.final",
        "runtime_checkable",
        "typing.runtime_checkable",
        "typing_extensions.runtime_checkable",
        "total_ordering",
        "functools.total_ordering",
        "unique",
        "enum.unique",
        "enum.verify",
        "verify",
        "attr.s",
        "attrs.define",
        "attrs.frozen",
        "attrs.mutable",
        "attr.define",
        "attr.frozen",
        "define",
        "frozen",
    }
)
HARMLESS_METACLASSES = frozenset({"ABCMeta", "abc.ABCMeta", "EnumMeta", "enum.EnumMeta", "enum.EnumType"})


def known_attributes(base: str | None) -> frozenset[str] | None:
    """The attributes that a base outside the project brings, None when they are not known."""
    if base is None:
        return None
    module, _, name = base.rpartition(".")
    if module in {"builtins", "enum"}:
        found = getattr(builtins if module == "builtins" else enum, name, None)
        return frozenset(dir(found)) if isinstance(found, type) else None
    names = _EMPTY.get(base)
    return None if names is None else frozenset(names)


ON_ANY_OBJECT = frozenset(dir(object)) | {"__dict__", "__module__", "__annotations__", "__slots__", "__weakref__"}
ON_ANY_CLASS = frozenset(dir(type)) | {"__dataclass_fields__", "__pydantic_fields__", "__protocol_attrs__"}
ON_ANY_ENUM = frozenset(dir(enum.Enum)) | frozenset(dir(enum.EnumMeta)) | {"name", "value", "_name_", "_value_"}
