"""`type object 'EventType' has no attribute 'SYSTEM_ERROR'`: the failure of production, planted again."""

from __future__ import annotations

import pytest
import source_trees
from source_trees import naming

from chaosd.envelope.kinds import EventType
from chaosd.preflight.check import run

BARE = {"annotated": None, "mixed": ("dlq.py",), "unannotated": ("dlq.py", "strategy.py", "contract.py", "pipeline.py")}


def test_event_type_has_all_types_of_the_contract():
    assert {member.value for member in EventType} == {
        "market_tick",
        "trading_signal",
        "validated_signal",
        "rejected_signal",
        "order_placed",
        "order_filled",
        "order_failed",
        "pnl_snapshot",
        "system_error",
    }
    assert all(member.name == member.value.upper() for member in EventType)


@pytest.mark.parametrize("enum", ["EventType", "SignalType", "ErrorType"])
def test_every_member_that_chaosd_names_exists(tmp_path, enum):
    report = run(naming(enum, tmp_path), rules=["unknown-enum-member"])
    assert report.findings == ()
    spoken = [file for file in tmp_path.rglob("*.py") if enum in file.read_text(encoding="utf-8")]
    assert len(spoken) > 2
    assert report.unparsed == 0


def test_a_member_that_is_named_by_another_name_of_the_enum_is_among_what_is_read(tmp_path, monkeypatch):
    package = tmp_path / "package"
    package.mkdir()
    for name, text in {
        "kinds.py": "from enum import Enum\n\nclass EventType(Enum):\n    TICK = 1\n",
        "short.py": "from kinds import EventType as Kind\n\nAlias = Kind\n",
        "use.py": "import short\n\nprint(short.Alias.TOCK)\n",
        "other.py": "print(1)\n",
    }.items():
        (package / name).write_text(text, encoding="utf-8")
    monkeypatch.setattr(source_trees, "_PACKAGE", package)
    report = run(naming("EventType", tmp_path / "copy") / "chaosd", rules=["unknown-enum-member"])
    assert [(finding.path, finding.line) for finding in report.findings] == [("use.py", 3)]
    assert report.files == 3


@pytest.mark.parametrize("variant", BARE)
@pytest.mark.parametrize("member", ["SYSTEM_ERROR", "VALIDATED_SIGNAL", "MARKET_TICK"])
def test_every_use_of_an_event_type_that_was_removed_is_found(pipeline_copy, variant, member):
    if BARE[variant] is not None:
        pipeline_copy.without_annotations(*BARE[variant])
    pipeline_copy.replace("envelope/kinds.py", rf"^    {member} = .*\n", "")
    uses = pipeline_copy.lines(rf"EventType\.{member}\b")
    assert uses
    assert pipeline_copy.check() == {(path, line, "unknown-enum-member") for path, line in uses}


def test_member_is_found_missing_behind_an_alias_an_attribute_and_a_re_export(check):
    check(
        {
            "events/__init__.py": "from events.types import EventType\n",
            "events/types.py": "import enum\n\nclass EventType(enum.StrEnum):\n    TICK = 'tick'\n",
            "use.py": """
                import events
                from events import EventType as Kinds

                Shortcut = Kinds

                class Router:
                    kinds = Kinds

                    def route(self, kind):
                        if kind == events.EventType.SYSTEM_ERROR:  # !unknown-enum-member
                            return Shortcut.SYSTEM_ERROR  # !unknown-enum-member
                        if kind is self.kinds.SYSTEM_ERROR:  # !unknown-enum-member
                            return {Kinds.TICK: 1, Kinds.TOCK: 2}  # !unknown-enum-member
                        match kind:
                            case Kinds.TACK:  # !unknown-enum-member
                                return 3
                            case Kinds.TICK:
                                return 4
                """,
        }
    )
