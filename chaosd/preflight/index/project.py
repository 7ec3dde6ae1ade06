"""A whole project: its modules loaded and linked, so that names can be followed to their definitions."""

from __future__ import annotations

import ast
import builtins
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from chaosd.preflight.index.collect import collect
from chaosd.preflight.index.declared import (
    ClassInfo,
    Declarations,
    FunctionInfo,
    Imported,
    InProject,
    Outside,
    Resolved,
    dotted,
)
from chaosd.preflight.index.source import Broken, Layout, read

_FOLLOW_MAX = 12  # re-exports of re-exports; a longer chain is a cycle
_CONTEXT_FILES_MAX = 2_000  # read only because others import them


@dataclass(slots=True)
class Project:
    """All modules that were asked for, and those of the same code base that they import."""

    layout: Layout
    modules: dict[str, Declarations] = field(default_factory=dict)
    broken: list[Broken] = field(default_factory=list)
    classes: dict[str, ClassInfo] = field(default_factory=dict)
    functions: dict[str, FunctionInfo] = field(default_factory=dict)
    subclasses: dict[str, set[str]] = field(default_factory=dict)
    patched: dict[str, bool] = field(default_factory=dict)  # attribute stored from outside → also by non-test code
    roots: tuple[str, ...] = ()
    portions: dict[str, tuple[str, ...]] = field(default_factory=dict)  # folder without __init__ → the folders it is in
    _lineages: dict[str, tuple[list[ClassInfo], list[str | None]]] = field(default_factory=dict)
    _files: dict[str, Path | None] = field(default_factory=dict)
    _packages: dict[str, bool] = field(default_factory=dict)
    _found: dict[tuple[str, str], str | None] = field(default_factory=dict)
    _resolved: dict[tuple[str, str], Resolved | None] = field(default_factory=dict)
    _followed: dict[tuple[str, str], Resolved | None] = field(default_factory=dict)
    notes: dict[object, object] = field(default_factory=dict)  # what was worked out once: records, annotations

    def find_module(self, importer: str, name: str) -> str | None:
        """The project's module that `import name` means inside the module `importer`, None for a library."""
        name = name.removesuffix(".__init__")
        if not name:
            return None
        if (importer, name) not in self._found:
            candidates = (f"{prefix}.{name}" if prefix else name for prefix in self._prefixes(importer, name))
            self._found[importer, name] = next((m for m in candidates if m in self.modules or self.file(m)), None)
        return self._found[importer, name]

    def _prefixes(self, importer: str, name: str) -> Iterator[str]:
        parts = importer.split(".")
        if importer in self.modules and not self.modules[importer].source.is_package:
            parts.pop()
        while parts:
            prefix = ".".join(parts)
            if not self._is_package(prefix):
                yield prefix
            parts.pop()
        yield ""
        head = name.partition(".")[0]
        if head in importer.split("."):
            yield from self.portions.get(head, ())  # a namespace package: its other parts lie under other roots
        if head not in sys.stdlib_module_names:
            yield from self.roots

    def _is_package(self, folder: str) -> bool:
        if folder not in self._packages:
            self._packages[folder] = (self.layout.base.joinpath(*folder.split(".")) / "__init__.py").exists()
        return self._packages[folder]

    def file(self, module: str) -> Path | None:
        """The file of a module that belongs to this code base, read or not."""
        if module not in self._files:
            self._files[module] = self._look_for(module)
        return self._files[module]

    def _look_for(self, module: str) -> Path | None:
        place = self.layout.base.joinpath(*module.split("."))
        for file in (place.with_name(place.name + ".py"), place / "__init__.py"):
            if file.is_relative_to(self.layout.context) and file.is_file():
                return file
        return None

    def resolve(self, importer: str, path: str) -> Resolved | None:
        """Follow a dotted name as the module `importer` would; None when it is not certain what it means."""
        if (importer, path) not in self._resolved:
            head, _, rest = path.partition(".")
            found = self._global(importer, head, 0)
            self._resolved[importer, path] = self._inside(importer, found, rest, 0)
        return self._resolved[importer, path]

    def member(self, importer: str, module: str, name: str) -> Resolved | None:
        """What `name` is in the module `module`."""
        return self._inside(importer, InProject(module), name, 0)

    def absolute(self, importer: str, path: str) -> Resolved | None:
        """Follow an absolute dotted path: the longest module in it, then the names inside."""
        if (importer, path) not in self._followed:
            self._followed[importer, path] = self._absolute(importer, path, 0)
        return self._followed[importer, path]

    def _global(self, module: str, name: str, depth: int) -> Resolved | None:
        declared = self.modules.get(module)
        if declared is None or depth > _FOLLOW_MAX or name in declared.names.unsure:
            return None
        bound = declared.names.bound.get(name)
        if isinstance(bound, Imported):
            path = bound.module if bound.name is None else f"{bound.module}.{bound.name}"
            return self._absolute(module, path, depth + 1)
        if bound is not None:
            return self.classes.get(bound) or self.functions.get(bound)
        for star in declared.names.stars:
            target = self.find_module(module, star)
            if target is None:
                return None
            found = self._global(target, name, depth + 1)
            if found is not None:
                return found
        return None

    def _absolute(self, importer: str, path: str, depth: int) -> Resolved | None:
        parts = path.split(".")
        for cut in range(len(parts), 0, -1):
            module = self.find_module(importer, ".".join(parts[:cut]))
            if module is not None:
                return self._inside(importer, InProject(module), ".".join(parts[cut:]), depth)
        return Outside(path)

    def _inside(self, importer: str, found: Resolved | None, rest: str, depth: int) -> Resolved | None:
        names = [name for name in rest.split(".") if name]
        for at, name in enumerate(names):
            if isinstance(found, Outside):
                path = ".".join([found.path, *names[at:]])
                return self._absolute(importer, path, depth + 1) if depth <= _FOLLOW_MAX else None
            if isinstance(found, InProject):
                inner = self._global(found.module, name, depth + 1)
                submodule = self.find_module("", f"{found.module}.{name}")
                found = inner if inner is not None or submodule is None else InProject(submodule)
            elif isinstance(found, ClassInfo):
                found = self.classes.get(f"{found.key}.{name}") or self.functions.get(f"{found.key}.{name}")
            else:
                return None
        return found

    def parts(self, number: int) -> list[frozenset[str]]:
        """The modules in parts of about the same size; as many as there are modules at most."""
        parts: list[set[str]] = [set() for _ in range(max(1, min(number, len(self.modules))))]
        sizes = [0] * len(parts)
        for name, declared in sorted(self.modules.items(), key=lambda pair: (-pair[1].size, pair[0])):
            at = sizes.index(min(sizes))
            parts[at].add(name)
            sizes[at] += declared.size
        return list(map(frozenset, parts))

    def lineage(self, key: str) -> tuple[list[ClassInfo], list[str | None]]:
        """The class and its project bases, nearest first, and its other bases by dotted name (None: not understood)."""
        if key in self._lineages:
            return self._lineages[key]
        chain: list[ClassInfo] = []
        outside: list[str | None] = []
        waiting = [key]
        while waiting:
            info = self.classes[waiting.pop(0)]
            if info in chain:
                continue
            chain.append(info)
            for base in info.bases:
                if base is not None and base in self.classes:
                    waiting.append(base)
                else:
                    outside.append(base)
        self._lineages[key] = chain, outside
        return chain, outside


def load(layout: Layout) -> Project:
    """Read every file under the root and what they import from the same code base, and link them."""
    project = Project(layout)
    asked = layout.files()
    project.roots, project.portions = _import_roots(layout, asked), _portions(layout, asked)
    for file in asked:
        _add(project, file, reported=True)
    waiting = list(project.modules)
    context = 0
    while waiting and context < _CONTEXT_FILES_MAX:
        module = waiting.pop()
        for name in sorted(project.modules[module].imports):
            target = project.find_module(module, name)
            if target is None or target in project.modules:
                continue
            found = project.file(target)
            if found is not None and _add(project, found, reported=False):
                waiting.append(target)
                context += 1
    _link(project)
    return project


def _import_roots(layout: Layout, files: list[Path]) -> tuple[str, ...]:
    """Dotted prefixes of the folders that hold an outermost package: what a PYTHONPATH would name."""
    roots: set[str] = set()
    for file in files:
        folder = file.parent
        if not (folder / "__init__.py").exists():
            continue
        while (folder / "__init__.py").exists() and folder != layout.base:
            folder = folder.parent
        roots.add(".".join(folder.relative_to(layout.base).parts))
    return tuple(sorted(roots - {""}))


def _portions(layout: Layout, files: list[Path]) -> dict[str, tuple[str, ...]]:
    """Of each folder that is no regular package, the dotted places of all folders that hold one of its name."""
    found: dict[str, set[str]] = {}
    for folder in {file.parent for file in files}:
        parts = folder.relative_to(layout.base).parts
        for at, name in enumerate(parts):
            if not layout.base.joinpath(*parts[: at + 1], "__init__.py").exists():
                found.setdefault(name, set()).add(".".join(parts[:at]))
    return {name: tuple(sorted(places)) for name, places in found.items() if len(places) > 1}


def _add(project: Project, file: Path, *, reported: bool) -> bool:
    source = read(project.layout, file, reported=reported)
    if isinstance(source, Broken):
        if reported:
            project.broken.append(source)
        return False
    declared = collect(source)
    project.modules[source.module] = declared
    project.classes.update(declared.classes)
    project.functions.update(declared.functions)
    return True


def _link(project: Project) -> None:
    for info in project.classes.values():
        info.bases = tuple(_base(project, info, node) for node in info.node.bases)
    for key in project.classes:
        for ancestor in project.lineage(key)[0][1:]:
            project.subclasses.setdefault(ancestor.key, set()).add(key)
    for declared in project.modules.values():
        for receiver, attribute in declared.patched:
            _patch(project, declared, receiver, attribute)


def _base(project: Project, info: ClassInfo, node: ast.expr) -> str | None:
    if isinstance(node, ast.Subscript):
        node = node.value
    path = dotted(node)
    if path is None:
        return None
    module = info.source.module
    holder = info.key.rpartition(".")[0] if "." in info.key.partition(":")[2] else ""
    if holder and f"{holder}.{path}" in project.classes:
        return f"{holder}.{path}"
    head = path.partition(".")[0]
    names = project.modules[module].names
    if head not in names.bound and head not in names.unsure and not names.stars:
        return f"builtins.{path}" if hasattr(builtins, head) else None
    found = project.resolve(module, path)
    if isinstance(found, ClassInfo):
        return found.key if found is not info else None
    return found.path if isinstance(found, Outside) else None


def _patch(project: Project, declared: Declarations, receiver: str, attribute: str | None) -> None:
    target = None if receiver == "?" else project.resolve(declared.source.module, receiver)
    test = declared.source.is_test
    if isinstance(target, ClassInfo):
        if attribute is None:
            target.surprises.append("gets attributes by computed name from outside")
        elif not test or target.source.is_test:
            target.stored.setdefault(attribute, target.node.lineno)
    elif attribute is not None:
        project.patched[attribute] = project.patched.get(attribute, False) or not test
