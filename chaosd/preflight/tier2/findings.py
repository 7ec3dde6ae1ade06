"""What of the checker's errors is told: by the places of the original source, without what tier 1 told or vetoes."""

from __future__ import annotations

import ast
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from chaosd.kernel.finding import Confidence, Finding
from chaosd.preflight.index.declared import dotted
from chaosd.preflight.infer.analysis import Analysis
from chaosd.preflight.infer.values import ClassRef, Instance, Scalar
from chaosd.preflight.infer.world import Use
from chaosd.preflight.report import TIER2_ATTRIBUTE, TIER2_BYTES
from chaosd.preflight.rules.lacking import filled_by_name
from chaosd.preflight.rules.rule import at, uses, vouched_for
from chaosd.preflight.tier2 import checker
from chaosd.preflight.tier2.shadow import Shadow, write

_ATTRIBUTE = re.compile(r"(?:Object of class|Class) `([\w.]+)` has no (?:class )?attribute `(\w+)`")
_ARGUMENT = re.compile(r"Argument `([^`]+)` is not assignable")
_QUOTED = re.compile(r"`([^`]+)`")
_BYTES = re.compile(r"(?:builtins\.)?(?:bytes|bytearray|memoryview|Literal\[b['\"].*\]|Buffer)")
_TEXT = re.compile(r"(?:builtins\.)?(?:str|LiteralString|Literal\[['\"].*\])")
_NODES = (ast.Call, ast.BinOp, ast.Subscript)

Checker = Callable[[Path, tuple[Path, ...]], list[checker.Error]]


def findings(analysis: Analysis, known: set[Finding], check: Checker = checker.check) -> Iterator[Finding]:
    """The findings of tier 2 in lines that tier 1 says nothing of. Raises UsageError and StackError as the checker."""
    with tempfile.TemporaryDirectory(prefix="chaosd-tier2-") as place:
        folder = Path(place).resolve() / "source"
        folder.mkdir()
        shadow = write(analysis, folder)
        errors = check(folder, shadow.search)
    told = {(finding.path, finding.line) for finding in known}
    yield from _mapped(analysis, shadow, errors, told)


def _mapped(
    analysis: Analysis, shadow: Shadow, errors: list[checker.Error], told: set[tuple[str, int]]
) -> Iterator[Finding]:
    attributes = {
        (use.source.path, use.node.end_lineno, use.node.attr): use
        for use in uses(analysis, ast.Attribute)
        if isinstance(use.node, ast.Attribute)
    }
    places = {(use.source.path, getattr(use.node, "lineno", 0)): use for use in reversed([*uses(analysis, *_NODES)])}
    filled = {analysis.project.classes[cls].name for cls in filled_by_name(analysis) if cls in analysis.project.classes}
    unions = _in_unions(analysis)
    for error in errors:
        path = shadow.sources.get(error.file)
        if path is None or (path, error.line) in told:
            continue
        if error.kind == "missing-attribute":
            found = _ATTRIBUTE.match(error.text)
            if found is None:
                continue
            use = attributes.get((path, error.line, found[2]))
            if use is not None and found[1] not in filled | unions and _lacks(analysis, use, found[1], found[2]):
                yield _told(TIER2_ATTRIBUTE, use, f"{found[1]} has no attribute {found[2]!r}", f"{found[1]}.{found[2]}")
        elif _mixes(error.text) and (use := places.get((path, error.line))) and _is_known(analysis, use.node, error):
            yield _told(TIER2_BYTES, use, error.text.partition("\n")[0].replace("`", "'"), ast.unparse(use.node)[:80])


def _told(rule: str, use: Use, message: str, symbol: str) -> Finding:
    whole = at(rule, use, use.node, f"{message} (tier 2)", symbol=symbol)
    return Finding(whole.path, whole.line, whole.column, rule, whole.message, symbol=symbol, confidence=Confidence.LOW)


def _lacks(analysis: Analysis, use: Use, cls: str, name: str) -> bool:
    """The open-world veto of tier 1, by the bare name: every class of that name must lack the attribute."""
    if vouched_for(analysis, use, name):
        return False
    receiver = use.node.value if isinstance(use.node, ast.Attribute) else use.node
    others = {type(atom) for atom in analysis.record.of(receiver).atoms} - {Instance, ClassRef}
    if others or len(analysis.record.of(receiver).atoms) > 1:
        return False
    keys = [key for key, info in analysis.project.classes.items() if info.name == cls]
    if any(cls in analysis.project.modules[key.partition(":")[0]].names.unsure for key in keys):
        return False  # one that stands in for a library's class where that is not installed
    shapes = [shape for key in keys for shape in (analysis.shapes.of(key), *analysis.shapes.below(key))]
    return bool(shapes) and all(shape.lacks(name) and not shape.is_protocol for shape in shapes)


def _in_unions(analysis: Analysis) -> set[str]:
    """Names that an annotation gives beside others, `None` left out: the checker tells errors of each one alone."""
    found: set[str] = set()
    for declared in analysis.project.modules.values():
        for node in ast.walk(declared.source.tree):
            parts: list[ast.expr] = []
            if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
                parts = [node.left, node.right]
            elif isinstance(node, ast.Subscript) and (dotted(node.value) or "").endswith("Union"):
                parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else []
            if not any(isinstance(part, ast.Constant) and part.value is None for part in parts):
                found.update((dotted(part) or "").rpartition(".")[2] for part in parts)
    return found


def _is_known(analysis: Analysis, node: ast.AST, error: checker.Error) -> bool:
    """Tier 1 too takes one of the sides for bytes or text, and not only a literal: stubs often say either.

    Where the error is about an argument, it must be what tier 1 takes the argument for: a parameter may be given
    another value than its annotation says.
    """
    if isinstance(node, ast.Call):
        sides = [*node.args, *([node.func.value] if isinstance(node.func, ast.Attribute) else [])]
    elif isinstance(node, ast.BinOp):
        sides = [node.left, node.right]
    else:
        sides = [node.value] if isinstance(node, ast.Subscript) else []
    given = _ARGUMENT.match(error.text)
    for side in sides:
        values = analysis.record.of(side)
        kinds = {atom.kind if isinstance(atom, Scalar) else "" for atom in values.atoms}
        if isinstance(side, ast.Constant) or values.open or kinds not in ({"str"}, {"bytes"}):
            continue
        if given is None or side not in getattr(node, "args", ()) or kinds == {_plain_kind(given[1])}:
            return True
    return False


def _plain_kind(told: str) -> str:
    return "bytes" if _BYTES.fullmatch(told) else "str" if _TEXT.fullmatch(told) else ""


def _mixes(text: str) -> bool:
    """One side of the error is bytes and the other text, and neither can be both."""
    if re.search(r"function `(?:list|dict|set|deque)\.", text):
        return False  # what a container holds is the checker's guess from its first use
    kinds = set()
    for quoted in _QUOTED.findall(text.partition("\n")[0]):
        parts = [part.strip() for part in quoted.split("|")]
        is_bytes = any(_BYTES.fullmatch(part) or "Buffer" in part for part in parts)
        is_text = any(_TEXT.fullmatch(part) for part in parts)
        if is_bytes != is_text:
            kinds.add(is_bytes)
    return len(kinds) == 2
