"""What pydantic found wrong with a user's file, said with file, line, path, what was expected and what was found."""

from __future__ import annotations

import json
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from chaosd.experiment.document import Document, Place
from chaosd.kernel.errors import SourceError, nearest

Model = TypeVar("Model", bound=BaseModel)
_FOUND_CHARS = 80
_PLAIN = {
    "int_type": "a whole number",
    "bool_type": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping of keys to values",
    "model_type": "a mapping of keys to values",
    "model_attributes_type": "a mapping of keys to values",
    "string_too_short": "some text",
    "too_short": "at least one",
}


def validate(
    source: Document,
    model: type[Model],
    raw: Any,
    where: Place,
    problems: list[SourceError],
    *,
    beside: Sequence[str] = (),
) -> Model | None:
    """Make a model of what stands at `where`; None, and an addition to `problems` for each thing wrong with it.

    `beside` names keys that may stand there too and belong to somebody else: they are offered as nearest names.
    """
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        problems.extend(_told(source, model, detail, where, beside) for detail in _worth_telling(error, raw))
        return None


def one_error(problems: Sequence[SourceError]) -> SourceError:
    """All problems of a file as one error, in the order of their lines."""
    ordered = sorted(problems, key=lambda problem: (problem.line or 0, problem.column or 0))
    return ordered[0].with_others(ordered[1:])


def _worth_telling(error: ValidationError, raw: Any) -> Iterator[ErrorDetails]:
    """One error per place: a union tells one for each of its members."""
    seen = set()
    for detail in error.errors(include_url=False):
        place = _in_file(detail["loc"], raw, missing=detail["type"] == "missing")
        if place not in seen:
            seen.add(place)
            yield {**detail, "loc": place}


def _in_file(loc: Sequence[int | str], raw: Any, *, missing: bool) -> tuple[int | str, ...]:
    """The part of pydantic's location that is in the file: it names members of unions and keys of dicts as well."""
    place: list[int | str] = []
    for index, part in enumerate(loc):
        inside, raw = _step_into(raw, part)
        if inside or (missing and index == len(loc) - 1):
            place.append(part)
    return tuple(place)


def _step_into(raw: Any, part: int | str) -> tuple[bool, Any]:
    if isinstance(raw, Mapping) and part in raw:
        return True, raw[part]
    if isinstance(raw, list) and isinstance(part, int) and part < len(raw):
        return True, raw[part]
    return False, raw


def _told(
    source: Document, model: type[BaseModel], detail: ErrorDetails, where: Place, beside: Sequence[str]
) -> SourceError:
    place = (*where, *detail["loc"])
    kind, context = detail["type"], detail.get("ctx", {})
    last = str(detail["loc"][-1]) if detail["loc"] else ""
    if kind == "extra_forbidden":
        known = [*_keys_at(model, detail["loc"][:-1]), *(beside if len(detail["loc"]) == 1 else ())]
        expected = "one of " + ", ".join(known) if known else "no such key: there is nothing to choose"
        return source.error("unknown key", place, expected=expected, found=last, near=nearest(last, known))
    if kind == "missing":
        expected = f"{last}: {_described(model, detail['loc'])}".rstrip(": ")
        return source.error(f"the key {last!r} is missing", place[:-1], expected=expected)
    found = _shown(detail["input"])
    if kind == "literal_error":
        words = [word.strip("'") for word in str(context["expected"]).replace(" or ", ", ").split(", ")]
        near = nearest(str(detail["input"]), words)
        return source.error("unknown word", place, expected="one of " + ", ".join(words), found=found, near=near)
    if kind == "value_error":
        return source.error("cannot be this", place, expected=str(context["error"]), found=found)
    if kind in ("string_pattern_mismatch", "string_type"):
        text = _field_at(model, detail["loc"])
        shown = " or ".join(map(str, text.examples)) if text is not None and text.examples else ""
        return source.error("cannot be this", place, expected=f"text such as {shown}" if shown else "text", found=found)
    expected = _PLAIN.get(kind, detail["msg"][:1].lower() + detail["msg"][1:])
    return source.error("cannot be this", place, expected=expected, found=found)


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= _FOUND_CHARS else text[: _FOUND_CHARS - 1] + "…"


def _keys_at(model: type[BaseModel], loc: Sequence[str | int]) -> list[str]:
    """The keys that may stand at a place inside a model."""
    for part in loc:
        field = _own_field(model, part)
        nested = _model_in(field.annotation) if field is not None else None
        if nested is not None:
            model = nested
    return [field.alias or name for name, field in model.model_fields.items()]


def _field_at(model: type[BaseModel], loc: Sequence[str | int]) -> FieldInfo | None:
    field = None
    for part in loc:
        field = _own_field(model, part) or field
        nested = _model_in(field.annotation) if field is not None else None
        if nested is not None:
            model = nested
    return field


def _described(model: type[BaseModel], loc: Sequence[str | int]) -> str:
    field = _field_at(model, loc)
    return (field.description or "").rstrip(".") if field is not None else ""


def _own_field(model: type[BaseModel], part: str | int) -> FieldInfo | None:
    return next((field for name, field in model.model_fields.items() if (field.alias or name) == part), None)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (Annotated, Union, types.UnionType, tuple, list):
        return next((found for part in get_args(annotation) if (found := _model_in(part))), None)
    return None
