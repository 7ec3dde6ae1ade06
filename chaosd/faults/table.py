"""All faults by family, one line each. Parser, schema and the lists that people see are made from this table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from chaosd.faults import kafka, kafka_topics, links, network, postgres, process, redis
from chaosd.faults.fault import Fault

if TYPE_CHECKING:
    from chaosd.experiment.spec import FaultForm

FAMILIES: Mapping[str, tuple[Fault, ...]] = {
    "network": (
        network.latency,
        network.bandwidth,
        network.slicer,
        network.limit_data,
        network.slow_close,
        network.blackhole,
        network.mute,
        links.reset,
        links.down,
        links.flap,
    ),
    "process": (
        process.restart,
        process.rolling_restart,
        process.kill,
        process.pause,
    ),
    "redis": (
        redis.client_kill,
        redis.maxmemory,
        redis.readonly_replica,
        redis.maxclients,
        redis.flush,
    ),
    "kafka": (
        kafka.max_message_bytes,
        kafka.quota,
        kafka.rebalance,
        kafka_topics.topic_deleted,
    ),
    "postgres": (
        postgres.terminate_backends,
        postgres.exhaust_connections,
        postgres.lock_table,
        postgres.read_only,
        postgres.slow_statements,
    ),
}
FAULTS: Mapping[str, Fault] = {fault.name: fault for family in FAMILIES.values() for fault in family}


def forms() -> Mapping[str, FaultForm]:
    """What an experiment may say about each fault, and about each overlay of its traffic."""
    # Experiments are parsed with these; who only undoes a fault (`chaosd heal`) must begin within a second.
    from chaosd.experiment import overlays  # noqa: PLC0415
    from chaosd.experiment.spec import FaultForm  # noqa: PLC0415

    faults = {
        name: FaultForm(name, fault.params, fault.on, fault.needs, fault.claims, fault.keeps_out)
        for name, fault in FAULTS.items()
    }
    return {**faults, **overlays.FORMS}
