"""Runs `main()` of every file of a folder and prints a JSON object: file name → what it raised, or null.

A process of its own, once per variant of the lab. What cannot be had here is stood in for by name: servers of Redis
(the real client, with answers that its own decoding turns into bytes or str), Kafka (the real record builder, which
refuses what is not bytes), and dependency_injector's two providers.
"""

from __future__ import annotations

import json
import sys
import types
import warnings
from pathlib import Path

import aiokafka
import redis
from aiokafka.record.default_records import DefaultRecordBatchBuilder

ANSWERS = {"GET": b"on", "HGETALL": {b"size": b"3"}}


def answer(client, *words, **options):
    decodes = client.connection_pool.connection_kwargs.get("decode_responses", False)

    def told(value):
        if isinstance(value, dict):
            return {told(key): told(item) for key, item in value.items()}
        return value.decode() if decodes else value

    return told(ANSWERS[words[0]])


class Producer:
    """What AIOKafkaProducer does with a record before it is sent, by its own record builder."""

    def __init__(self, *, bootstrap_servers, key_serializer=None, value_serializer=None):
        self.serializers = (key_serializer, value_serializer)

    async def send(self, topic, value=None, key=None):
        key, value = (
            part if serializer is None or part is None else serializer(part)
            for part, serializer in zip((key, value), self.serializers, strict=True)
        )
        builder = DefaultRecordBatchBuilder(2, 0, 0, 0, 0, 0, 16_384)
        builder.append(0, 1, key, value, [])

    send_and_wait = send


def stand_ins():
    redis.Redis.execute_command = answer
    aiokafka.AIOKafkaProducer = Producer
    package, containers, providers = (
        types.ModuleType(f"dependency_injector{name}") for name in ("", ".containers", ".providers")
    )

    def provider(made, *args, **kwargs):
        return lambda *_: made(*(arg() for arg in args), **{name: arg() for name, arg in kwargs.items()})

    containers.DeclarativeContainer = type("DeclarativeContainer", (), {})
    providers.Singleton = providers.Factory = provider
    package.containers, package.providers = containers, providers
    sys.modules.update({module.__name__: module for module in (package, containers, providers)})


def outcome(file):
    try:
        scope = types.ModuleType(file.stem)
        sys.modules[file.stem] = scope
        exec(compile(file.read_text(encoding="utf-8"), str(file), "exec"), scope.__dict__)
        scope.main()
    except Exception as error:  # noqa: BLE001 -- whatever a defect raises is its proof
        return f"{type(error).__name__}: {error}"
    return None


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    stand_ins()
    print(json.dumps({file.name: outcome(file) for file in sorted(Path(sys.argv[1]).glob("*.py"))}))
