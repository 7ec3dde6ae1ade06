"""Mounts a folder of verifiers: one file each, which exports `verifier`.

The only module of this room that reads files.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from chaosd.kernel.errors import UsageError
from chaosd.verification.verifier import Verifier


@dataclass(frozen=True, slots=True)
class Source:
    """A verifier with the text it was loaded from: a copy in the run directory makes a replay elsewhere the same."""

    verifier: Verifier
    path: Path
    text: bytes

    @property
    def sha256(self) -> str:
        """Hash of the text, hexadecimal."""
        return hashlib.sha256(self.text).hexdigest()


def load(folder: Path) -> tuple[Source, ...]:
    """All verifiers of a folder, in order of their file names.

    The module name carries a hash of the file's place, so that two folders with a file of one name do not meet.
    Raises UsageError for a folder without verifiers, a file that cannot be imported, one without `verifier`, and two
    verifiers of one name.
    """
    sources = tuple(_load(path) for path in sorted(folder.glob("*.py")) if not path.name.startswith("_"))
    if not sources:
        raise UsageError(f"{folder} has no verifiers", remedy="a verifier is a file that exports `verifier`")
    names = [source.verifier.name for source in sources]
    for name in sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"{folder} has more than one verifier called {name}")
    return sources


def _load(path: Path) -> Source:
    place = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]
    name = f"chaosd_verifiers_{place}_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up by name; a pickled partial result does so as well.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise UsageError(f"{path} cannot be loaded: {type(error).__name__}: {error}") from error
    return Source(_exported(module, path), path, path.read_bytes())


def _exported(module: ModuleType, path: Path) -> Verifier:
    verifier = getattr(module, "verifier", None)
    if not isinstance(verifier, Verifier):
        raise UsageError(f"{path} does not export a `verifier`", remedy="verifier = Verifier(name, anomalies, fold, …)")
    return verifier
