"""A protocol promises; what is passed for it must keep the promise wherever it is called."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import pytest

from chaosd.conductor.client import RunHandle
from chaosd.faults.fault import Bench
from chaosd.kernel import errors
from chaosd.kernel.clock import Clock, SystemClock
from chaosd.stack.provider import Provider
from chaosd.stack.providers.embedded import EmbeddedProvider
from chaosd.stack.providers.external import ExternalProvider
from chaosd.target.reference.store import PostgresStore, TickStore
from chaosd.testbed.testbed import Testbed

# What is really passed for each protocol: by shape alone, none of them names it as its base.
PASSED = [
    (Provider, EmbeddedProvider),
    (Provider, ExternalProvider),
    (Bench, Testbed),
    (Clock, SystemClock),
    (TickStore, PostgresStore),
]

PROTOCOL = """
    from typing import Protocol

    class Metrics(Protocol):
        def increment_count(self, name: str) -> None: ...

    class Service:
        def __init__(self, metrics: Metrics) -> None:
            self._metrics = metrics

        def handle(self) -> None:
            self._metrics.increment_count("x")"""


def test_object_passed_for_a_protocol_that_lacks_its_method_is_found_at_the_call(check):
    check(
        {
            "service.py": PROTOCOL + "  # !missing-method\n",
            "app.py": """
                from service import Service

                class Collector:
                    def increment(self, name: str) -> None: ...

                Service(Collector()).handle()  # !protocol-member-missing
                """,
        }
    )


def test_object_that_keeps_the_protocol_without_naming_it_is_fine(check):
    check(
        {
            "service.py": PROTOCOL + "\n",
            "app.py": """
                from service import Service

                class Collector:
                    def increment_count(self, name: str) -> None: ...

                Service(Collector()).handle()
                """,
        }
    )


def test_protocol_nobody_is_seen_to_implement_gives_no_finding(check):
    check({"service.py": PROTOCOL.replace('increment_count("x")', 'unheard_of("x")') + "\n"})


def test_abstract_base_lacks_a_method_that_one_of_its_implementations_has(check):
    check(
        {
            "service.py": """
                from abc import ABC, abstractmethod

                class Store(ABC):
                    @abstractmethod
                    def put(self): ...

                class FileStore(Store):
                    def put(self): ...
                    def flush(self): ...

                def use(store: Store):
                    store.put()
                    store.flush()
                    store.flsh()  # !missing-method
                """,
        }
    )


def test_mixin_may_call_what_it_is_mixed_into(check):
    check(
        {
            "service.py": """
                class Mixin:
                    def go(self):
                        self.brought_by_others()

                class Made:
                    def go(self):
                        self.brought_by_nobody()  # !missing-method

                Made().go()
                """,
        }
    )


def test_overriding_initialiser_feeds_the_base_through_super(check):
    check(
        {
            "service.py": """
                class Metrics:
                    def increment(self): ...

                class Base:
                    def __init__(self, metrics):
                        self.metrics = metrics

                class Service(Base):
                    def __init__(self, metrics, limit):
                        super().__init__(metrics)
                        self.limit = limit

                    def handle(self):
                        self.metrics.increment()
                        self.metrics.increment_count()  # !missing-method

                Service(Metrics(), 3).handle()
                """,
        }
    )


def broken_promises(protocol: type, made: type) -> Iterator[str]:
    """What a class that is passed for a protocol would get wrong at a call: absence, parameters, `async`."""
    for name, promised in vars(protocol).items():
        if name.startswith("_") or not (inspect.isfunction(promised) or isinstance(promised, property)):
            continue
        there: Any = inspect.getattr_static(made, name, None)
        if isinstance(promised, property):
            # A property may be kept by one, or by an attribute that the constructor sets.
            if there is None and f"self.{name} " not in inspect.getsource(made):
                yield f"{name}: absent"
            continue
        if not inspect.isfunction(there):
            yield f"{name}: absent"
            continue
        if inspect.iscoroutinefunction(promised) != inspect.iscoroutinefunction(there):
            yield f"{name}: one is asynchronous"
        wanted, given = inspect.signature(promised).parameters, inspect.signature(there).parameters
        if list(given)[: len(wanted)] != list(wanted):
            yield f"{name}: takes {list(given)}, promised {list(wanted)}"
        elif any(one.default is one.empty for one in list(given.values())[len(wanted) :]):
            yield f"{name}: asks for more than was promised"


@pytest.mark.parametrize(("protocol", "made"), PASSED, ids=lambda one: one.__name__)
def test_what_is_passed_for_a_protocol_of_ours_keeps_it(protocol, made):
    assert list(broken_promises(protocol, made)) == []
    assert protocol not in made.__mro__


@pytest.mark.parametrize("made", [RunHandle, PostgresStore])
def test_what_is_none_of_its_kind_is_told(made):
    assert list(broken_promises(Provider, made)) != []


def test_the_nearest_class_of_an_error_decides_its_exit_code():
    """The order in which Python looks: SourceError → UsageError → ChaosdError; its own code, or the nearest one's."""
    classes = [one for one in vars(errors).values() if inspect.isclass(one) and issubclass(one, errors.ChaosdError)]
    for one in classes:
        own = next(base for base in one.__mro__ if "exit_code" in vars(base))
        assert one.exit_code is vars(own)["exit_code"]
    assert errors.SourceError.__mro__[:3] == (errors.SourceError, errors.UsageError, errors.ChaosdError)


def test_a_method_is_looked_for_along_the_order_of_the_bases(check):
    check(
        {
            "service.py": """
                class Base:
                    def handle(self): ...

                class Left(Base):
                    def left(self): ...

                class Right(Base):
                    def right(self): ...

                class Both(Left, Right):
                    def go(self):
                        self.handle()
                        self.left()
                        self.right()
                        self.wrong()  # !missing-method

                Both().go()
                """,
        }
    )
