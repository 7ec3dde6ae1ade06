"""The schemas of a project at one moment, as values that go to JSON and back."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

VERSION = 1


@dataclass(frozen=True, slots=True)
class FieldSchema:
    """One field. `type` is an expression over builtins, `Decimal`, `datetime`… and the identifiers of the schemas."""

    name: str
    type: str
    required: bool
    alias: str | None = None
    constraints: dict[str, float | int | str] = field(default_factory=dict)
    line: int = 1


@dataclass(frozen=True, slots=True)
class ModelSchema:
    """A model: pydantic, dataclass, struct or attrs. `identifier` is how types name it."""

    identifier: str
    name: str
    kind: str
    extra: str
    by_name: bool
    fields: tuple[FieldSchema, ...]
    path: str = ""
    line: int = 1


@dataclass(frozen=True, slots=True)
class EnumSchema:
    """An enum with the values of its members."""

    identifier: str
    name: str
    members: dict[str, Any]
    path: str = ""
    line: int = 1


@dataclass(frozen=True, slots=True)
class Schemas:
    """All models and enums of a project by their key, `module:Class`."""

    models: dict[str, ModelSchema]
    enums: dict[str, EnumSchema]

    def to_json(self) -> dict[str, Any]:
        """The document that is kept in the repository."""
        models = {key: asdict(model) for key, model in sorted(self.models.items())}
        enums = {key: asdict(enum) for key, enum in sorted(self.enums.items())}
        return {"chaosd-schemas": VERSION, "models": models, "enums": enums}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Schemas:
        """Read a document. Raises KeyError and TypeError where it is not one."""
        models = {
            key: ModelSchema(**{**model, "fields": tuple(FieldSchema(**one) for one in model["fields"])})
            for key, model in data["models"].items()
        }
        return cls(models, {key: EnumSchema(**enum) for key, enum in data["enums"].items()})

    def shape(self) -> dict[str, Any]:
        """The document without places: two sources that say the same give the same."""
        document = self.to_json()
        for group in ("models", "enums"):
            for one in document[group].values():
                del one["line"], one["path"]
                for field_ in one.get("fields", ()):
                    del field_["line"]
        return document
