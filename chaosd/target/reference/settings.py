"""What the pipeline is told by its environment, as any container is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields


class SettingsError(Exception):
    """The environment lacks something; the message names it."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Addresses and names; each field is the environment variable of that name in capitals.

    `instance` is the static member id of the consumer group: a restarted pipeline takes over its predecessor's
    partitions at once, instead of after the session's end.
    """

    kafka_bootstrap: str
    redis_url: str
    database_url: str
    group: str
    instance: str
    input_topic: str
    output_topic: str
    dlq_topic: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Raises SettingsError that names every missing variable."""
        names = {field.name: field.name.upper() for field in fields(cls)}
        missing = [variable for variable in names.values() if not environment.get(variable)]
        if missing:
            raise SettingsError(f"not set in the environment: {', '.join(missing)}")
        return cls(**{name: environment[variable] for name, variable in names.items()})
