"""`chaosd init`: writes first files into somebody's project. Nothing that is there is touched."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

# Where each file of a suite comes from (what travels with chaosd), and where it goes.
_SUITE = {
    "examples/pytest/chaos/redis-late.chaos.yaml": "chaos/redis-late.chaos.yaml",
    "examples/pytest/chaos/test_chaos_parts.py": "chaos/test_chaos_parts.py",
}
_CI = {
    "github": {"examples/ci/github-actions.yml": ".github/workflows/chaos.yml"},
    "gitlab": {"examples/ci/gitlab-ci.yml": ".gitlab-ci.yml"},
    "none": {},
}
REQUIREMENTS = "requirements-chaos.txt"


def init(
    folder: Annotated[Path, typer.Argument(help="the project")] = Path(),
    pytest: Annotated[bool, typer.Option("--pytest", help="a suite for pytest: an experiment, tests on parts")] = False,
    ci: Annotated[str, typer.Option(help="with --pytest: github, gitlab or none")] = "none",
) -> None:
    """Write first files into a project. Exit 2 when one of them is there already; nothing is written then."""
    from chaosd.kernel.errors import UsageError, nearest

    if not pytest:
        raise UsageError("there is nothing to write", remedy="chaosd init --pytest writes a suite for pytest")
    if ci not in _CI:
        near = nearest(ci, _CI)
        remedy = f"did you mean {near!r}?" if near else f"one of: {', '.join(_CI)}"
        raise UsageError(f"there is no CI {ci!r}", remedy=remedy)
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}", remedy="make it, or name another")
    files = dict(_contents(ci))
    there = [name for name in files if (folder / name).exists()]
    if there:
        raise UsageError(f"already there: {', '.join(there)}", remedy="move them away, or choose another folder")
    try:
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, encoding="utf-8")
            print(f"wrote {folder / name}")
    except OSError as error:
        raise UsageError(f"{folder} cannot be written to: {error.strerror}", remedy="choose another folder") from error
    print("next: chaosd stack install, then python -m pytest chaos -v")


def _contents(ci: str) -> Iterator[tuple[str, str]]:
    from chaosd import __version__
    from chaosd.kernel.bundled import bundled

    for source, name in {**_SUITE, **_CI[ci]}.items():
        yield name, bundled(source).read_text(encoding="utf-8")
    yield REQUIREMENTS, f"chaosd[embedded]=={__version__}\n"
