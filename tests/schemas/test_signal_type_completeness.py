"""BUY, SELL and HOLD: what the pipeline answers with exists, and a signal that was taken away is missed at each use."""

from __future__ import annotations

import pytest

from chaosd.envelope.kinds import SignalType


def test_signal_type_has_all_signals_of_the_contract():
    assert [member.value for member in SignalType] == ["BUY", "SELL", "HOLD"]


@pytest.mark.parametrize("member", ["BUY", "SELL", "HOLD"])
def test_every_use_of_a_signal_that_was_removed_is_found(pipeline_copy, member):
    pipeline_copy.replace("envelope/kinds.py", rf"^    {member} = .*\n", "")
    uses = pipeline_copy.lines(rf"SignalType\.{member}\b")
    assert uses
    assert pipeline_copy.check() == {(path, line, "unknown-enum-member") for path, line in uses}


@pytest.mark.parametrize(
    "definition",
    [
        "Signal = Enum('Signal', 'BUY SELL')",
        "Signal = Enum('Signal', ['BUY', 'SELL'])",
        "Signal = Enum('Signal', [('BUY', 1), ('SELL', 2)])",
        "Signal = Enum('Signal', {'BUY': 1, 'SELL': 2})",
        "Signal = Enum('Signal', names='BUY,SELL')",
        "class Signal(Enum):\n    BUY, SELL = 1, 2",
        "class Signal(str, Enum):\n    BUY = 'b'\n    SELL = 's'\n    @classmethod\n    def _missing_(cls, value): ...",
        "class Signal(IntEnum):\n    BUY = auto()\n    SELL = auto()",
        "class Base(Enum):\n    def shout(self): ...\n\nclass Signal(Base):\n    BUY = 1\n    SELL = BUY",
    ],
    ids=["text", "list", "pairs", "dict", "names", "tuple", "missing", "auto", "inherited"],
)
def test_members_are_known_in_every_form_of_definition(check, definition):
    check(
        {
            "signals.py": "from enum import Enum, IntEnum, auto\n\n" + definition + "\n",
            "use.py": "from signals import Signal\n\nfirst = Signal.BUY, Signal.SELL\n"
            "second = Signal.HOLD  # !unknown-enum-member\n",
        }
    )


@pytest.mark.parametrize(
    "definition",
    [
        "Signal = Enum('Signal', load())",
        "Signal = Enum('Signal', [(name, 1) for name in load()])",
        "class Signal(Enum):\n    for name in load():\n        locals()[name] = name",
        "class Meta(EnumMeta):\n    def __getattr__(cls, x): ...\n\nclass Signal(Enum, metaclass=Meta):\n    BUY = 1",
        "from elsewhere import Base\n\nclass Signal(Base):\n    BUY = 1",
        "from elsewhere import extend\n\n@extend\nclass Signal(Enum):\n    BUY = 1",
        "class Signal(Enum):\n    BUY = 1\n\nfor name in load():\n    setattr(Signal, name, 1)",
    ],
    ids=["computed", "comprehension", "locals", "metaclass", "base", "decorator", "setattr"],
)
def test_enum_whose_members_are_computed_gives_no_finding(check, definition):
    text = "from enum import Enum, EnumMeta\nfrom elsewhere import load\n\n" + definition + "\n\nfound = Signal.HOLD\n"
    check({"signals.py": text})
