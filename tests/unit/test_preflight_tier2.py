"""Tier 2: the shadow copy, what is kept of a checker's errors, and the checker itself where it is installed."""

from __future__ import annotations

import sys

import pytest

from chaosd.cli.app import run as chaosd_command
from chaosd.kernel.errors import UsageError
from chaosd.preflight.check import run
from chaosd.preflight.index.project import load
from chaosd.preflight.index.source import Layout
from chaosd.preflight.infer.analysis import analyse
from chaosd.preflight.tier2 import checker
from chaosd.preflight.tier2.findings import findings
from chaosd.preflight.tier2.shadow import write

SOURCE = """
class Metrics:
    def increment(self, name): ...

class Service:
    def __init__(self, metrics, name="ä"):
        self.metrics = metrics

    def ä(self, ö, text): return self.metrics.incremen(ö), text.upper(), hasattr(ö, "x")

    def first(self):
        return max([self.metrics], key=id).incremen("x")

Service(Metrics()).ä(3, "x")
"""

STAND_IN = """try:
    from library import Lazy
except ImportError:
    class Lazy: ...

def unwrap(it):
    return it.wrapped

unwrap(Lazy())
"""


@pytest.fixture
def analysis(tmp_path):
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "service.py").write_text(SOURCE, encoding="utf-8")
    return analyse(load(Layout.of(tmp_path / "src")))


@pytest.fixture
def pyrefly():
    pytest.importorskip("pyrefly", reason="tier 2 needs pyrefly: pip install 'chaosd[types]'")


def test_shadow_says_what_flows_in_and_keeps_every_line(analysis, tmp_path):
    shadow = write(analysis, tmp_path / "copy")
    copy = (tmp_path / "copy" / "service.py").read_text(encoding="utf-8").splitlines()
    assert 'metrics: "_chaosd_1.Metrics", name="ä"' in copy[5]
    assert 'ö, text: "_chaosd_0.str"' in copy[8]  # `ö` is asked with hasattr
    assert copy[11] == SOURCE.splitlines()[11]
    assert copy[-2:] == ["import builtins as _chaosd_0", "import service as _chaosd_1"]
    assert list(shadow.sources.values()) == ["service.py"]


def fake_checker(*rows):
    """Stands for pyrefly: tells the given (line, kind, text) of service.py."""
    return lambda folder, _: [checker.Error(folder / "service.py", *row) for row in rows]


def told(analysis, *rows, known=()):
    return [(f.line, f.rule) for f in findings(analysis, set(known), fake_checker(*rows))]


def test_error_is_told_at_its_line_unless_tier_1_says_something_of_it(analysis):
    row = (12, "missing-attribute", "Object of class `Metrics` has no attribute `incremen`")
    (finding,) = findings(analysis, set(), fake_checker(row))
    assert (finding.path, finding.line, finding.rule, finding.confidence) == (
        "service.py",
        12,
        "tier2-attribute",
        "low",
    )
    assert told(analysis, row, known=[finding]) == []


@pytest.mark.parametrize(
    "row",
    [
        (12, "missing-attribute", "Object of class `NoneType` has no attribute `incremen`"),
        (12, "missing-attribute", "Object of class `Metrics` has no attribute `increment`"),
        (3, "missing-attribute", "Object of class `Metrics` has no attribute `incremen`"),
        (12, "missing-attribute", "something else"),
        (12, "bad-argument-type", "Argument `Metrics` is not assignable to parameter `x` with type `int`"),
        (
            9,
            "bad-argument-type",
            "Argument `str` is not assignable to parameter `x` with type `bytes` in `list.append`",
        ),
    ],
)
def test_error_with_a_doubt_is_not_told(analysis, row):
    assert [place for place in told(analysis, row) if place[0] != 9] == []


@pytest.mark.parametrize(
    ("source", "row", "is_told"),
    [
        (
            "def key(text: str): ...\n\ndef count(name: bytes):\n    name = str(name)\n    key(name)\n",
            (5, "bad-argument-type", "Argument `bytes` is not assignable to parameter `text` with type `str`"),
            False,
        ),
        (
            "def key(text: str): ...\n\ndef count(name: bytes):\n    key(name)\n",
            (4, "bad-argument-type", "Argument `bytes` is not assignable to parameter `text` with type `str`"),
            True,
        ),
        (
            STAND_IN,
            (7, "missing-attribute", "Object of class `Lazy` has no attribute `wrapped`"),
            False,
        ),
    ],
    ids=["parameter that gets another value", "parameter as it is annotated", "stand-in of a library's class"],
)
def test_error_counts_only_where_tier_1_takes_the_value_for_the_same(tmp_path, source, row, is_told):
    (tmp_path / "service.py").write_text(source, encoding="utf-8")
    found = list(findings(analyse(load(Layout.of(tmp_path))), set(), fake_checker(row)))
    assert [finding.line for finding in found] == ([row[0]] if is_told else [])


def test_checker_finds_what_tier_1_does_not_follow(tmp_path, pyrefly):
    source = "import hashlib\ndef sign(text):\n    return hashlib.sha256(text)\nprint(sign('abc'))\n"
    (tmp_path / "sign.py").write_text(source, encoding="utf-8")
    (tmp_path / "service.py").write_text(SOURCE, encoding="utf-8")
    found = {(f.path, f.line, f.rule) for f in run(tmp_path, tier2=True).findings if f.rule.startswith("tier2-")}
    assert found == {("service.py", 12, "tier2-attribute"), ("sign.py", 3, "tier2-bytes")}


def test_suppression_of_tier_2_counts_as_unused_only_where_it_is_asked(tmp_path, pyrefly):
    (tmp_path / "a.py").write_text("x = 1  # chaosd: ignore[tier2-bytes]\n", encoding="utf-8")
    assert run(tmp_path).findings == ()
    assert [f.rule for f in run(tmp_path, tier2=True).findings] == ["unused-suppression"]


@pytest.mark.parametrize(
    "program", ["print('no answer')", "import sys; open(sys.argv[5][5:], 'w').write('{\"errors\": []}')"]
)
def test_checker_that_does_not_look_is_no_silent_pass(tmp_path, program):
    (tmp_path / "source").mkdir()
    with pytest.raises(UsageError, match="pyrefly"):
        checker.check(tmp_path / "source", [], (sys.executable, "-c", program))


@pytest.mark.parametrize("format_", ["text", "json", "sarif", "github", "junit"])
def test_every_format_tells_findings_of_tier_2(analysis, tmp_path, format_, pyrefly, capsys):
    command = ["preflight", str(tmp_path / "src"), "--tier2", "--format", format_, "--no-cache"]
    assert chaosd_command(command) == 1
    assert "tier2-attribute" in capsys.readouterr().out


def test_command_says_how_to_get_the_checker(tmp_path, monkeypatch, capsys):
    (tmp_path / "a.py").write_text("x = 1\n", encoding="utf-8")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert chaosd_command(["preflight", str(tmp_path), "--tier2"]) == 2
    assert "pip install 'chaosd[types]'" in capsys.readouterr().err
