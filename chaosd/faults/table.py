"""All faults, one line each. The parser, the schema and the lists that people see are made from this table."""

from __future__ import annotations

from collections.abc import Mapping

from chaosd.experiment.spec import FaultForm
from chaosd.faults import network, process
from chaosd.faults.fault import Fault

FAULTS: Mapping[str, Fault] = {
    fault.name: fault
    for fault in (
        network.latency,
        network.bandwidth,
        network.reset,
        network.blackhole,
        network.down,
        process.restart,
        process.kill,
        process.pause,
    )
}


def forms() -> Mapping[str, FaultForm]:
    """What an experiment may say about each fault."""
    return {
        name: FaultForm(name=name, params=fault.params, on=fault.on, needs=fault.needs)
        for name, fault in FAULTS.items()
    }
