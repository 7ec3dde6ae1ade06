"""kafka-serializer: a Kafka producer without a serializer is given something else than bytes."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from chaosd.kernel.finding import Finding
from chaosd.preflight.infer.analysis import Analysis
from chaosd.preflight.infer.values import Atom, Container, Instance, Made, Method, Row, Scalar, Values
from chaosd.preflight.rules.rule import Rule, at, uses

_SENDS = frozenset({"send", "send_and_wait"})
_PARTS = (("value", 1), ("key", 2))


def _find(analysis: Analysis) -> Iterator[Finding]:
    for use in uses(analysis, ast.Call):
        node = use.node
        if not isinstance(node, ast.Call) or any(isinstance(item, ast.Starred) for item in node.args):
            continue
        producers = _producers(analysis.record.of(node.func))
        for word, place in _PARTS if producers else ():
            given = next((k.value for k in node.keywords if k.arg == word), None)
            if given is None and place < len(node.args):
                given = node.args[place]
            kind = _not_bytes(analysis.record.of(given)) if given is not None else ""
            bare = all(made.given is not None and f"{word}_serializer" not in made.given for made in producers)
            if kind and bare:
                text = f"the {word} is {kind}, and the producer has no {word}_serializer: Kafka carries bytes"
                yield at(rule.name, use, node, text, symbol=word, defined_at=str(producers[0].origin))


def _producers(values: Values) -> list[Made]:
    found = [atom.receiver for atom in values.atoms if isinstance(atom, Method) and atom.name in _SENDS]
    made = [receiver for receiver in found if isinstance(receiver, Made)]
    return sorted(made, key=str) if made and len(made) == len(values.atoms) and not values.open else []


def _not_bytes(values: Values) -> str:
    names = {_kind(atom) for atom in values.atoms}
    return min(names) if names and not values.open and "" not in names else ""


def _kind(atom: Atom) -> str:
    """How a person calls what is surely not bytes; empty for bytes, and for what may be."""
    if isinstance(atom, Scalar):
        return "" if atom.kind == "bytes" else atom.kind.rpartition(".")[2]
    if isinstance(atom, Container | Row):
        return "a dict" if isinstance(atom, Container) and atom.mapping else "a sequence"
    return "an object" if isinstance(atom, Instance) else ""


rule = Rule("kafka-serializer", "a Kafka value or key that is not bytes, without a serializer", _find)
