"""Collaborators of a service: whatever way one is injected, calling what it does not have is found before traffic."""

from __future__ import annotations

from pathlib import Path

import pytest

import chaosd
from chaosd.preflight.check import run

METRICS = """
    class PipelineMetricsCollector:
        def __init__(self):
            self.counts = {}

        def increment(self, name):
            self.counts[name] = self.counts.get(name, 0) + 1
    """
SERVICES = {
    "annotated": """
        from metrics import PipelineMetricsCollector

        class Service:
            def __init__(self, metrics: PipelineMetricsCollector) -> None:
                self.metrics = metrics

            def handle(self) -> None:
                self.metrics.increment_count("handled")  # !missing-method
                self.metrics.increment("handled")
        """,
    "mixed": """
        class Service:
            def __init__(self, metrics: "Any", limit: int = 3) -> None:
                self.metrics = metrics
                self.limit = limit

            def handle(self) -> None:
                self.metrics.increment_count("handled")  # !missing-method
                self.metrics.increment("handled")
        """,
    "unannotated": """
        class Service:
            def __init__(self, metrics):
                self.metrics = metrics

            def handle(self):
                self.metrics.increment_count("handled")  # !missing-method
                self.metrics.increment("handled")
        """,
}
BUILDERS = {
    "direct": "service = Service(PipelineMetricsCollector())",
    "keyword": "service = Service(metrics=PipelineMetricsCollector())",
    "variable": "collector = PipelineMetricsCollector()\nservice = Service(collector)",
    "factory": "def make():\n    return PipelineMetricsCollector()\n\nservice = Service(make())",
    "singleton": (
        "_one = None\n\ndef get():\n    global _one\n    if _one is None:\n        _one = PipelineMetricsCollector()\n"
        "    return _one\n\ndef main():\n    Service(get()).handle()"
    ),
    "container": (
        "class Container:\n    def __init__(self):\n        self.metrics = PipelineMetricsCollector()\n\n"
        "    def service(self):\n        return Service(self.metrics)"
    ),
}


@pytest.mark.parametrize("builder", BUILDERS)
@pytest.mark.parametrize("service", SERVICES)
def test_method_missing_on_an_injected_collaborator_is_found(check, service, builder):
    check(
        {
            "metrics.py": METRICS,
            "service.py": SERVICES[service],
            "app.py": "from metrics import PipelineMetricsCollector\nfrom service import Service\n\n"
            + BUILDERS[builder],
        }
    )


def test_methods_of_bases_properties_and_attributes_set_later_are_not_missing(check):
    check(
        {
            "service.py": """
                from dataclasses import dataclass
                from typing import Callable

                class Base:
                    def shared(self): ...

                class Metrics(Base):
                    on_change: Callable[[], None]
                    alias = Base.shared

                    def __init__(self, emit):
                        self.emit = emit
                        setattr(self, "late", emit)

                    @property
                    def callback(self):
                        return self.emit

                @dataclass
                class Hooks:
                    before: Callable[[], None]

                def use(metrics: Metrics, hooks: Hooks):
                    metrics.shared()
                    metrics.alias()
                    metrics.emit()
                    metrics.late()
                    metrics.callback()
                    metrics.on_change()
                    hooks.before()
                    metrics.__init_subclass__()
                """,
        }
    )


@pytest.mark.parametrize(
    "body",
    [
        "class Metrics:\n    def __getattr__(self, name):\n        return print",
        "class Metrics:\n    def __init__(self, extra):\n        self.__dict__.update(extra)",
        "class Metrics:\n    def __init__(self, more):\n        for name in more:\n            setattr(self, name, 1)",
        "from elsewhere import Base\n\nclass Metrics(Base):\n    pass",
        "from elsewhere import extend\n\n@extend\nclass Metrics:\n    pass",
        "from elsewhere import Meta\n\nclass Metrics(metaclass=Meta):\n    pass",
        "class Metrics:\n    pass\n\nclass Better(Metrics):\n    def increment_count(self): ...",
        "class Metrics:\n    pass\n\nMetrics.increment_count = print",
        "from typing import Protocol\n\nclass Metrics(Protocol):\n    def other(self): ...",
        "from pydantic import BaseModel\n\nclass Metrics(BaseModel):\n    model_config = {'extra': 'allow'}",
    ],
    ids=["getattr", "dict", "setattr", "base", "decorator", "metaclass", "subclass", "patched", "protocol", "extra"],
)
def test_class_that_may_have_more_than_is_seen_gives_no_finding(check, body):
    check({"m.py": body + "\n\ndef use(metrics: Metrics):\n    metrics.increment_count()\n"})


@pytest.mark.parametrize(
    "use",
    [
        "if hasattr(metrics, 'increment_count'):\n        metrics.increment_count()",
        "try:\n        metrics.increment_count()\n    except AttributeError:\n        pass",
        "if isinstance(metrics, Other):\n        metrics.increment_count()",
        "metrics = wrap(metrics)\n    metrics.increment_count()",
        "metrics.increment_count = print\n    metrics.increment_count()",
    ],
    ids=["hasattr", "except", "isinstance", "reassigned", "stored"],
)
def test_use_that_allows_for_the_absence_gives_no_finding(check, use):
    check(
        {
            "m.py": "from elsewhere import Other, wrap\n\nclass Metrics:\n    pass\n\n"
            f"def use(metrics: Metrics):\n    {use}\n"
        }
    )


def test_mocks_and_fakes_of_tests_do_not_hide_what_the_product_passes(check):
    check(
        {
            "metrics.py": METRICS,
            "service.py": SERVICES["unannotated"],
            "app.py": """
                from metrics import PipelineMetricsCollector
                from service import Service

                Service(PipelineMetricsCollector()).handle()
                """,
            "tests/test_service.py": """
                from unittest.mock import Mock
                from service import Service

                class Fake:
                    def increment(self, name): ...
                    def increment_count(self, name): ...

                def test_handle():
                    metrics = Mock()
                    metrics.increment_count = Mock()
                    Service(metrics).handle()
                    Service(Fake()).handle()
                """,
        }
    )


def test_either_of_two_collaborators_by_condition_is_not_accused(check):
    check(
        {
            "m.py": """
                class Plain:
                    def add(self): ...

                class Rich:
                    def add(self): ...
                    def flush(self): ...

                def use(metrics, rich):
                    metrics.add()
                    if rich:
                        metrics.flush()

                use(Plain(), False)
                use(Rich(), True)
                """,
        }
    )


def test_one_of_two_collaborators_lacks_what_is_called_in_any_case(check):
    check(
        {
            "m.py": """
                class Plain:
                    def add(self): ...

                class Rich:
                    def flush(self): ...

                def use(metrics):
                    metrics.flush()  # !missing-method

                use(Plain())
                use(Rich())
                """,
        }
    )


def test_object_that_a_function_may_return_among_others_is_not_accused(check):
    check(
        {
            "m.py": """
                from elsewhere import decode

                class Timestamp: ...

                def unpack(data):
                    if data:
                        return decode(data)
                    return Timestamp()

                def use(found):
                    found.get("x")

                use(unpack(b""))
                """,
        }
    )


def test_class_bound_in_another_class_feeds_its_constructor(check):
    check(
        {
            "menu.py": """
                class Menu:
                    def __init__(self, window):
                        self.window = window

                    def update(self):
                        if self.window.files:
                            self.window.refresh()

                class Example:
                    files = None

                Menu(Example())
                """,
            "editor.py": """
                class Editor:
                    from menu import Menu

                    def __init__(self):
                        self.menu = self.Menu(self)

                    def refresh(self): ...
                """,
        }
    )


def test_the_reference_pipeline_calls_only_what_is_there():
    report = run(Path(chaosd.__file__).parent / "target" / "reference")
    assert report.findings == ()
    assert report.calls_resolved > report.calls / 2


def test_no_target_of_chaosds_own_is_stopped_by_its_preflight():
    report = run(Path(chaosd.__file__).parent / "target")
    assert report.findings == ()
