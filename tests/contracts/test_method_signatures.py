"""Every call of the pipeline's collaborators fits the real method: its name, how many arguments, their names, types.

The calls are read from the source, the signatures from the classes. What does not fit would be a TypeError in
production, on whatever path first comes there.
"""

from __future__ import annotations

import ast
import inspect
import typing
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

import chaosd
from chaosd.target.reference.dedup import Dedup
from chaosd.target.reference.dlq import DeadLetters
from chaosd.target.reference.metrics import PipelineMetricsCollector
from chaosd.target.reference.outbox import Outbox
from chaosd.target.reference.source import Source
from chaosd.target.reference.state import RiskState, RiskStateManager
from chaosd.target.reference.store import PostgresStore

PIPELINE = Path(chaosd.__file__).parent / "target" / "reference"
# By the names under which the pipeline holds them: `parts.metrics`, `self.parts.state`.
COLLABORATORS = {"metrics": PipelineMetricsCollector, "state": RiskStateManager}


def calls(source: str) -> Iterator[tuple[type, str, ast.Call]]:
    """Calls of methods of a collaborator, whatever it hangs on."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            holder = node.func.value
            name = holder.attr if isinstance(holder, ast.Attribute) else getattr(holder, "id", "")
            if name in COLLABORATORS:
                yield COLLABORATORS[name], node.func.attr, node


def misfits(source: str) -> list[str]:
    """The calls that would raise AttributeError or TypeError."""
    found = []
    for owner, method, call in calls(source):
        there = inspect.getattr_static(owner, method, None)
        words = {keyword.arg: None for keyword in call.keywords if keyword.arg}
        try:
            if there is None:
                raise TypeError("no such method")
            inspect.signature(there).bind(None, *call.args, **words)
        except TypeError as error:
            found.append(f"{owner.__name__}.{method}, line {call.lineno}: {error}")
    return found


def test_every_call_in_the_pipeline_fits_the_method_that_is_there():
    sources = [path.read_text(encoding="utf-8") for path in PIPELINE.glob("*.py")]
    assert [misfit for source in sources for misfit in misfits(source)] == []
    called = {(owner, method) for source in sources for owner, method, _ in calls(source)}
    assert called >= {
        (PipelineMetricsCollector, "increment_count"),
        (PipelineMetricsCollector, "set_last_activity_timestamp"),
        (RiskStateManager, "update_position"),
    }


@pytest.mark.parametrize(
    ("call", "told"),
    [
        ("parts.metrics.increment('records')", "no such method"),
        ("parts.metrics.increment_count()", "missing a required argument: 'name'"),
        ("parts.metrics.increment_count('records', 1, 2)", "too many positional arguments"),
        ("parts.metrics.increment_count('records', by=2)", "unexpected keyword argument 'by'"),
        ("self.parts.state.update_position('ACME', 1, 2)", "missing a required argument: 'ticks'"),
        ("state.get_state(key='ACME')", "symbol"),
    ],
)
def test_a_call_that_does_not_fit_is_told(call, told):
    (misfit,) = misfits(call)
    assert told in misfit


@pytest.mark.parametrize(
    "call",
    [
        "parts.metrics.increment_count('records')",
        "parts.metrics.increment_count('records', amount=2)",
        "self.parts.state.get_state(symbol='ACME')",
        "other.increment('records')",
    ],
)
def test_a_call_that_fits_or_is_of_something_else_is_not(call):
    assert misfits(call) == []


@pytest.mark.parametrize("owner", COLLABORATORS.values())
def test_every_public_method_says_what_it_takes_and_gives(owner):
    methods = {name: method for name, method in vars(owner).items() if callable(method) and not name.startswith("_")}
    assert methods
    for name, method in methods.items():
        hints = typing.get_type_hints(method)
        assert set(hints) == {*inspect.signature(method).parameters, "return"} - {"self"}, name


def test_the_state_manager_gives_what_it_says():
    manager = RiskStateManager()
    given = ("ACME", Decimal(7), Decimal("710.50"), 1)
    for state in (manager.get_state("ACME"), manager.update_position(*given), manager.get_state("ACME")):
        assert isinstance(state, RiskState)
        for name, hint in typing.get_type_hints(RiskState).items():
            assert isinstance(getattr(state, name), hint)
    assert manager.get_state("ACME") == RiskState(*given)
    assert manager.get_state("NOVA") == RiskState("NOVA")
    assert manager.update_position("ACME", Decimal(1), Decimal(1), 0) == RiskState(*given)


def test_the_metrics_collector_gives_what_it_says():
    metrics = PipelineMetricsCollector()
    assert metrics.increment_count("records") is None
    assert metrics.increment_count("records", 2) is None
    assert metrics.set_last_activity_timestamp("poll", 12.5) is None
    counts = metrics.counts()
    assert counts == {"records": 3}
    assert (metrics.last_activity_s("poll"), metrics.last_activity_s("finish")) == (12.5, None)
    metrics.increment_count("records")
    assert counts == {"records": 3}


def unfitting_awaits(source: str, owners: dict[str, type]) -> list[str]:
    """Calls of asynchronous methods that nobody awaits, and awaits of methods that are not asynchronous."""
    tree = ast.parse(source)
    awaited = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Await)}
    # … or handed to somebody who awaits it: `group.create_task(store.record(…))`.
    awaited |= {id(given) for node in ast.walk(tree) if isinstance(node, ast.Call) for given in node.args}
    found = []
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        holder = node.func.value
        owner = owners.get(holder.attr if isinstance(holder, ast.Attribute) else getattr(holder, "id", ""))
        method = inspect.getattr_static(owner, node.func.attr, None) if owner else None
        if method is None or inspect.isasyncgenfunction(method):
            continue
        if inspect.iscoroutinefunction(method) != (id(node) in awaited):
            found.append(f"line {node.lineno}: {node.func.attr}")
    return found


# All parts of the pipeline, by the names under which it holds them.
PARTS = {
    **COLLABORATORS, "dedup": Dedup, "store": PostgresStore, "outbox": Outbox, "source": Source, "letters": DeadLetters,
}  # fmt: skip


def test_what_is_asynchronous_is_awaited_and_nothing_else():
    source = (PIPELINE / "pipeline.py").read_text(encoding="utf-8")
    assert unfitting_awaits(source, PARTS) == []
    assert source.count("await ") > 5


@pytest.mark.parametrize(
    "code",
    [
        "async def f(self):\n    self.dedup.mark(['a'])",
        "async def f(self):\n    await self.metrics.increment_count('a')",
    ],
)
def test_a_forgotten_await_and_one_too_many_are_told(code):
    assert unfitting_awaits(code, PARTS) != []


@pytest.mark.parametrize("owner", PARTS.values())
def test_optional_parameters_have_a_default_of_their_own_type(owner):
    for name, method in vars(owner).items():
        if not inspect.isfunction(method) or name.startswith("_"):
            continue
        hints = typing.get_type_hints(method)
        for parameter in inspect.signature(method).parameters.values():
            if parameter.default in (inspect.Parameter.empty, None):
                continue
            assert isinstance(parameter.default, hints[parameter.name]), f"{owner.__name__}.{name}({parameter.name})"
            assert not isinstance(parameter.default, list | dict | set), "one default shared by all calls"
