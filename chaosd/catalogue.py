"""Composition root: the only place that sees both what breaks things (faults) and what judges (verifiers)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from chaosd.experiment.spec import FaultForm
from chaosd.faults.table import forms
from chaosd.kernel.bundled import bundled
from chaosd.verification import loading
from chaosd.verification.verifier import Verifier


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Everything that can be named: fault forms by name, verifiers in the order of their names."""

    forms: Mapping[str, FaultForm]
    verifiers: tuple[Verifier, ...]


def catalogue() -> Catalogue:
    """The faults and verifiers of this installation."""
    return Catalogue(forms=forms(), verifiers=tuple(source.verifier for source in loading.load(bundled("verifiers"))))
