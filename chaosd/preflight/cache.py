"""Reports that were worked out before, by the content of every file that could have mattered.

What one file means depends on the others (docs/decisions/0025-a-report-is-cached-whole.md), so it is the whole report
that is kept. A cache that cannot be read or written is as good as none.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from chaosd import __version__
from chaosd.kernel.finding import Confidence, Finding
from chaosd.preflight.index.source import Layout, python_files
from chaosd.preflight.report import Evolution, Report
from chaosd.process.places import cache_dir

_KEPT_MAX = 64


def checked(
    root: Path,
    rules: Sequence[str] | None = None,
    evolution: Evolution | None = None,
    *,
    tier2: str = "",
    jobs: int | None = None,
) -> Report:
    """As `check.run`; from the cache when nothing changed. `tier2` is the version of its checker, empty without it."""
    key = _key(root, rules, evolution, tier2)
    file = cache_dir() / "preflight" / f"{key}.json"
    known = _read(file, root)
    if known is not None:
        return known
    from chaosd.preflight import check  # noqa: PLC0415 - slow to import, and mostly not needed

    report = check.run(root, rules, evolution, tier2=bool(tier2), jobs=jobs)
    _write(file, report)
    return report


def _key(root: Path, rules: Sequence[str] | None, evolution: Evolution | None, tier2: str) -> str:
    """Over this chaosd, this Python, the options, and path and content of all files that may be read."""
    made = hashlib.blake2b(digest_size=20)
    settings = [__version__, sys.version, str(rules and list(rules)), str(evolution), tier2]
    made.update("\0".join(settings).encode())
    layout = Layout.of(root)
    own = Path(__file__).parent
    folders = [own, *([evolution.folder] if evolution is not None else [])]
    events = evolution.events if evolution is not None else ()
    for file in (*_all(folders, layout), *events):
        made.update(f"\0{file}\0".encode("utf-8", "surrogatepass"))
        try:
            content = file.read_bytes() if file.is_file() else b""  # a named pipe would keep it waiting
            made.update(hashlib.blake2b(content, digest_size=20).digest())
        except OSError as error:
            made.update(str(error.errno).encode())
    return made.hexdigest()


def _all(folders: list[Path], layout: Layout) -> Iterator[Path]:
    """Those that are asked for, and those that may be read because others import them."""
    for folder in folders:
        yield from sorted(path for path in folder.rglob("*") if path.suffix in {".py", ".json", ".jsonl"})
    yield from layout.files()
    if layout.context != layout.root:
        yield from python_files(layout.context)


def _read(file: Path, root: Path) -> Report | None:
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        found = tuple(Finding(**{**one, "confidence": Confidence(one["confidence"])}) for one in data.pop("findings"))
        return Report(root=root, findings=found, **data)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _write(file: Path, report: Report) -> None:
    data = {name: value for name, value in asdict(report).items() if name != "root"}
    scratch = file.with_suffix(f".{os.getpid()}.tmp")
    with contextlib.suppress(OSError, UnicodeEncodeError):
        file.parent.mkdir(parents=True, exist_ok=True)
        scratch.write_text(json.dumps(data), encoding="utf-8")
        scratch.replace(file)
        kept = sorted(file.parent.glob("*.json"), key=lambda one: one.stat().st_mtime)
        for old in kept[:-_KEPT_MAX]:
            old.unlink(missing_ok=True)
