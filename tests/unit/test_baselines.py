"""When the baseline of an earlier run on a kept testbed holds."""

from __future__ import annotations

from types import SimpleNamespace

from chaosd.conductor.baselines import Baselines


class Testbed:
    """Remembers what is kept; its processes are all one."""

    __test__ = False
    processes = ("redis", "target")

    def __init__(self, *, replicas):
        self.record = SimpleNamespace(kept=True, replicas=replicas, extra={})

    def handle(self, process):
        return SimpleNamespace(pid=7, started=9) if process == "redis" or self.record.replicas else None

    def keep(self, key, value):
        self.record.extra[key] = value


def later(testbed):
    """What the second of two runs knows of the first one's baseline."""
    traffic = SimpleNamespace(rate_hz=200.0, streams=4, poison=())
    first, second = (
        SimpleNamespace(testbed=testbed, run_id=run_id, experiment=SimpleNamespace(traffic=traffic))
        for run_id in ("first", "second")
    )
    Baselines(first).remember({"0": {"median_ms": 5}})
    return Baselines(second).known()


def test_the_baseline_of_the_same_processes_is_used_again():
    assert later(Testbed(replicas=("target",))) == {"run_id": "first", "kinds": {"0": {"median_ms": 5}}}


def test_that_of_a_pipeline_whose_processes_nobody_knows_is_not():
    assert later(Testbed(replicas=())) is None
