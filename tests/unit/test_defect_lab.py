"""The defect lab: planted defects that really fail, and look-alikes that really do not, in three ways to annotate.

A case is written once, annotated (`tests/defect_lab/*.txt`); the mixed variant loses the annotations of parameters in
every second function, the unannotated one loses all but those of fields, without which a model has no fields. Each
variant is executed once, in a process of its own: a defect must raise, a look-alike must not.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from chaosd.preflight.check import run
from chaosd.preflight.rules.table import RULES

LAB = Path(__file__).resolve().parents[1] / "defect_lab"
VARIANTS = ("annotated", "mixed", "unannotated")
FOUND_MIN = 0.9
_MARK = re.compile(r"# ((?:![\w-]+ ?)+)")


@dataclass(frozen=True)
class Case:
    """`marks` are the lines with the rules that must report there."""

    rule: str
    title: str
    variants: tuple[str, ...]
    source: str
    marks: frozenset[tuple[int, str]]


class _Bare(ast.NodeTransformer):
    """Takes annotations off functions and variables; those of fields stay."""

    def __init__(self, every):
        self.every, self.count = every, 0

    def visit_FunctionDef(self, node):
        self.count += 1
        if self.count % self.every == 0:
            spec = node.args
            for arg in (*spec.posonlyargs, *spec.args, *spec.kwonlyargs, spec.vararg, spec.kwarg):
                if arg is not None:
                    arg.annotation = None
            if self.every == 1:
                node.returns = None
        self.generic_visit(node)
        return node

    def visit_AsyncFunctionDef(self, node):
        return self.visit_FunctionDef(node)


def cases():
    for file in sorted(LAB.glob("*.txt")):
        for text in file.read_text(encoding="utf-8").split("=== ")[1:]:
            head, _, source = text.partition("\n")
            rule, title, *variants = (part.strip() for part in head.split("|"))
            chosen = tuple(variants[0].split(", ")) if variants else VARIANTS
            marks = {
                (number, name)
                for number, line in enumerate(source.splitlines(), start=1)
                if (found := _MARK.search(line))
                for name in found[1].replace("!", " ").split()
            }
            yield Case(rule, title, chosen, source, frozenset(marks))


def told(case, variant):
    """The source of a case in a variant, and where its marks are then."""
    if variant == "annotated" or case.rule == "syntax-error":
        return case.source, case.marks
    tree = ast.parse(case.source)
    _Bare(1 if variant == "unannotated" else 2).visit(tree)
    source = ast.unparse(tree)
    places = {}
    for old, new in zip(ast.walk(tree), ast.walk(ast.parse(source)), strict=True):
        if hasattr(old, "lineno"):
            places.setdefault(old.lineno, new.lineno)  # the outermost: what stands on one line may be written on two
    return source, frozenset((places[line], rule) for line, rule in case.marks)


ALL = tuple(cases())
DEFECTS = tuple(case for case in ALL if case.rule != "fine")
LOOK_ALIKES = tuple(case for case in ALL if case.rule == "fine")


@pytest.fixture(scope="module", params=VARIANTS)
def variant(request, tmp_path_factory):
    """Each case of a variant in a folder of its own, and all of them executed."""
    name = request.param
    folder = tmp_path_factory.mktemp(name)
    chosen = {}
    for number, case in enumerate(ALL):
        if name in case.variants:
            source, marks = told(case, name)
            (folder / f"case_{number:03}.py").write_text(source, encoding="utf-8")
            chosen[f"case_{number:03}.py"] = (case, marks)
    done = subprocess.run(
        [sys.executable, str(LAB / "execute.py"), str(folder)], capture_output=True, text=True, timeout=120, check=True
    )
    return folder, chosen, json.loads(done.stdout)


def test_lab_is_as_large_as_promised_and_plants_every_rule():
    assert len(DEFECTS) >= 80
    assert len(LOOK_ALIKES) >= 60
    assert {case.rule for case in DEFECTS} == {rule.name for rule in RULES}


def test_every_defect_fails_and_no_look_alike_does(variant):
    _, chosen, raised = variant
    assert [case.title for file, (case, _) in chosen.items() if (raised[file] is None) != (case.rule == "fine")] == []


def test_nine_of_ten_defects_are_found_and_no_look_alike(variant):
    folder, chosen, _ = variant
    missed, false = [], []
    planted = Counter()
    for file, (case, marks) in chosen.items():
        findings = {(f.line, f.rule) for f in run(folder / file).findings}
        false += [f"{case.title}: {rule} in line {line}" for line, rule in findings - marks]
        if case.rule != "fine":
            planted[case.rule] += 1
            missed += [f"{case.rule}: {case.title}"] if not findings & marks else []
    assert false == []
    assert len(missed) <= (1 - FOUND_MIN) * planted.total(), missed


def test_no_look_alike_is_found_by_tier_2(variant):
    pytest.importorskip("pyrefly", reason="tier 2 needs pyrefly: pip install 'chaosd[types]'")
    folder, chosen, _ = variant
    fine = {file for file, (case, _) in chosen.items() if case.rule == "fine"}
    found = [finding for finding in run(folder, tier2=True).findings if finding.rule.startswith("tier2-")]
    assert [finding for finding in found if finding.path in fine] == []
