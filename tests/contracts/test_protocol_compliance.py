"""A protocol promises; what is passed for it must keep the promise wherever it is called."""

from __future__ import annotations

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
