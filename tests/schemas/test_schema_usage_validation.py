"""What is no misuse of a schema stays unsaid: enum machinery, guarded access, other objects of the same name."""

from __future__ import annotations

from pathlib import Path

import chaosd
from chaosd.preflight.check import run


def test_the_reference_pipeline_uses_its_schema_rightly():
    assert run(Path(chaosd.__file__).parent / "target").findings == ()


def test_attributes_that_every_enum_has_are_no_members_and_no_findings(check):
    check(
        {
            "m.py": """
                from enum import Enum, StrEnum

                class Kind(StrEnum):
                    TICK = "tick"
                    _ignore_ = ["scratch"]

                    @classmethod
                    def parse(cls, text):
                        return cls(text)

                    @property
                    def short(self):
                        return self.value[0]

                    class Nested:
                        limit = 3

                def use(kind: Kind):
                    print(Kind.__members__, Kind.TICK.name, Kind.TICK.value, Kind._value2member_map_, Kind.__name__)
                    print(Kind.parse("tick"), Kind.mro(), Kind.Nested.limit, Kind.TICK.short, Kind("tick"))
                    print(Kind["TICK"])
                    print(kind.upper(), kind.value.upper(), Kind.upper("x"), Kind._missing_, Kind.__doc__)
                    kind.shorten()  # !missing-method
                """,
        }
    )


def test_guarded_and_patched_members_are_no_findings(check):
    check(
        {
            "m.py": """
                from enum import Enum

                class Kind(Enum):
                    TICK = 1

                def guarded():
                    if hasattr(Kind, "OLD"):
                        return Kind.OLD
                    try:
                        return Kind.NEW
                    except AttributeError:
                        return Kind.TICK

                Kind.PATCHED = 3
                print(Kind.PATCHED)
                """,
        }
    )


def test_name_that_means_something_else_here_is_no_enum(check):
    check(
        {
            "kinds.py": "from enum import Enum\n\nclass Kind(Enum):\n    TICK = 1\n",
            "use.py": """
                from kinds import Kind

                def shadowed(Kind):
                    return Kind.ANYTHING

                def rebound(load):
                    Kind = load()
                    return Kind.ANYTHING

                def nested():
                    class Kind:
                        ANYTHING = 1
                    return Kind.ANYTHING
                """,
            "either.py": """
                try:
                    from fast import Kind
                except ImportError:
                    from kinds import Kind

                print(Kind.ANYTHING)
                """,
        }
    )


def test_error_that_is_swallowed_is_found_all_the_same(check):
    check(
        {
            "m.py": """
                from enum import Enum

                class Kind(Enum):
                    TICK = 1

                def handle(log):
                    try:
                        return Kind.SYSTEM_ERROR  # !unknown-enum-member
                    except Exception:
                        log("failed")
                """,
        }
    )
