"""The preflight's entry: read a tree of Python source, infer, apply the rules, obey suppressions."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from chaosd.kernel.errors import UsageError, nearest
from chaosd.kernel.finding import Finding
from chaosd.preflight.evolution.extract import schemas
from chaosd.preflight.evolution.schema import Schemas
from chaosd.preflight.index.project import Project, load
from chaosd.preflight.index.source import Layout
from chaosd.preflight.infer.analysis import Analysis, analyse
from chaosd.preflight.report import EVOLVED, OPTIONAL, TIER2_ATTRIBUTE, TIER2_BYTES, UNUSED, Evolution, Report
from chaosd.preflight.rules.rule import Rule, gather_all
from chaosd.preflight.rules.table import RULES
from chaosd.preflight.tier2 import findings as typed
from chaosd.process.crew import Exchange, jobs_here, work_in_parts
from chaosd.process.load import without_collections

_SIZE_OF_A_PART = 30_000  # syntax nodes, some 10,000 lines: less is not worth a process


def run(
    root: Path,
    rules: Collection[str] | None = None,
    evolution: Evolution | None = None,
    *,
    tier2: bool = False,
    jobs: int | None = None,
) -> Report:
    """Check the source at `root` (a folder or one file) against the named rules, by default all.

    Nothing of the source is imported or run; a replay runs models that are rebuilt from their schemas, in a process of
    its own. `tier2` asks a type checker too, and the replay and it are left out where `rules` are named.
    `jobs` is the number of processes that share the work, by default as many as a large project keeps busy; the
    findings do not depend on it.
    Raises UsageError when there is no Python at `root` or a rule is unknown, ChaosdError when a process was killed.
    """
    with without_collections():
        return _run(root, _chosen(rules), evolution, complete=rules is None, tier2=tier2, jobs=jobs)


def _run(
    root: Path,
    rules: Sequence[Rule],
    evolution: Evolution | None,
    *,
    complete: bool,
    tier2: bool,
    jobs: int | None,
) -> Report:
    project = load(Layout.of(root))
    with_types = tier2 and complete
    parts = project.parts(1 if with_types else _jobs(project) if jobs is None else jobs)

    def examine(part: Collection[str], exchange: Exchange) -> _Part:
        return _examine(project, part, rules, exchange, with_types=with_types)

    done = work_in_parts(parts, examine)
    found = _told_once(rules, {finding for part in done for finding in part.findings})
    names = {rule.name for rule in rules} | ({TIER2_ATTRIBUTE, TIER2_BYTES} if with_types else set())
    if evolution is not None and complete:
        names.add(EVOLVED)
        found |= set(_evolved(project, evolution))
    return Report(
        root=root,
        files=sum(declared.source.reported for declared in project.modules.values()),
        unparsed=len(project.broken),
        calls=sum(part.calls for part in done),
        calls_resolved=sum(part.calls_resolved for part in done),
        findings=tuple(sorted(_after_suppressions(project, found, names, complete=complete))),
    )


@dataclass(frozen=True, slots=True)
class _Part:
    """What one process found in its part of the project."""

    calls: int
    calls_resolved: int
    findings: frozenset[Finding]


def _jobs(project: Project) -> int:
    size = sum(declared.size for declared in project.modules.values())
    return min(jobs_here(), size // _SIZE_OF_A_PART) if size >= 2 * _SIZE_OF_A_PART else 1


def _examine(
    project: Project, part: Collection[str], rules: Sequence[Rule], exchange: Exchange, *, with_types: bool
) -> _Part:
    analysis = analyse(project, part, exchange)
    gather_all(analysis, rules, exchange)
    is_first = min(project.modules, default="") in part or not part
    found = {finding for rule in rules if is_first or not rule.once for finding in rule.find(analysis)}
    if with_types:
        found |= set(typed.findings(analysis, found))
    calls = [use for use in analysis.record.uses.get(ast.Call, []) if use.source.reported]
    return _Part(len(calls), sum(_resolved(analysis, use.node) for use in calls), frozenset(found))


def _told_once(rules: Sequence[Rule], found: set[Finding]) -> set[Finding]:
    """Without those that stand at the place of a lesser one, under rules that tell one of each place."""
    single = {rule.name for rule in rules if rule.one_per_place}
    least: dict[tuple[str, str, int, int], Finding] = {}
    for finding in sorted(finding for finding in found if finding.rule in single):
        least.setdefault((finding.rule, finding.path, finding.line, finding.column), finding)
    return {finding for finding in found if finding.rule not in single} | set(least.values())


def snapshot(root: Path) -> Schemas:
    """The schemas of the models and enums at `root`. Raises UsageError when some does not parse."""
    project = load(Layout.of(root))
    if project.broken:
        broken = project.broken[0]
        raise UsageError(
            f"{broken.path}:{broken.line}: does not parse, so its models are not known", remedy="mend the file first"
        )
    return schemas(project)


def _evolved(project: Project, evolution: Evolution) -> Iterator[Finding]:
    # The replay needs pydantic, which takes longer to import than a small project to check.
    from chaosd.preflight.evolution import recorded, snapshots  # noqa: PLC0415
    from chaosd.preflight.evolution.findings import findings, unread  # noqa: PLC0415

    kept, today = snapshots.load(evolution.folder), schemas(project)
    if evolution.with_replay:
        mended = {
            key
            for key in today.models
            for info in project.lineage(key)[0]
            if any(name.endswith("validator") for method in info.methods.values() for name in method.decorators)
        }
        yield from unread(recorded.load(evolution.event_files(), today), today, mended)
    yield from findings(today, kept, evolution.mode, with_replay=evolution.with_replay)


def _chosen(rules: Collection[str] | None) -> list[Rule]:
    if rules is None:
        return list(RULES)
    known = {rule.name: rule for rule in RULES}
    for name in rules:
        if name not in known:
            near = nearest(name, known)
            remedy = f"did you mean {near!r}?" if near else f"known rules: {', '.join(known)}"
            raise UsageError(f"there is no rule {name!r}", remedy=remedy)
    return [known[name] for name in dict.fromkeys(rules)]


def _resolved(analysis: Analysis, node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and bool(analysis.record.of(node.func).atoms)


def _after_suppressions(project: Project, found: set[Finding], names: set[str], *, complete: bool) -> Iterator[Finding]:
    ignored = {
        (declared.source.path, line, rule)
        for declared in project.modules.values()
        if declared.source.reported
        for line, rules in declared.source.ignored.items()
        for rule in rules
    }
    used: set[tuple[str, int, str]] = set()
    for finding in found:
        place = (finding.path, finding.line, finding.rule)
        if place in ignored:
            used.add(place)
        else:
            yield finding
    for path, line, rule in ignored - used:
        if rule in names or (complete and rule not in OPTIONAL):
            text = "nothing to ignore here" if rule in names else "there is no such rule"
            yield Finding(path, line, 0, UNUSED, f"chaosd: ignore[{rule}]: {text}", symbol=rule)
