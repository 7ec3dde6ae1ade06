"""A YAML document with the line and column of everything in it.

YAML 1.2 on purpose: a 1.1 loader reads `on: redis` as `{True: 'redis'}`. Source: yaml.org/spec/1.2.2, 10.2.1.2.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from chaosd.kernel.errors import SourceError, UsageError, nearest

_BYTES_MAX = 1_000_000

Place = Sequence[str | int]


@dataclass(frozen=True, slots=True)
class Document:
    """`tree` knows positions, `plain` is the same as ordinary values."""

    file: str
    tree: Any
    plain: Any

    def error(
        self, problem: str, place: Place, *, expected: str = "", found: str = "", near: str | None = None
    ) -> SourceError:
        """A SourceError at a place of this document; of a place that is not there, at the nearest thing around it."""
        line, column = self._position(place)
        return SourceError(
            problem,
            file=self.file,
            line=line,
            column=column,
            path=_path(place),
            expected=expected,
            found=found,
            nearest=near,
        )

    def unknown(self, problem: str, place: Place, found: str, known: Collection[str]) -> SourceError:
        """A SourceError for a name that is none of those known."""
        return self.error(
            problem, place, expected="one of " + ", ".join(known), found=found, near=nearest(found, known)
        )

    def _position(self, place: Place) -> tuple[int, int]:
        node, line, column = self.tree, 0, 0
        for part in place:
            try:
                if isinstance(node, CommentedMap) and part in node:
                    line, column = node.lc.key(part)
                elif isinstance(node, CommentedSeq) and isinstance(part, int):
                    line, column = node.lc.item(part)
                else:
                    break
                node = node[part]
            except (KeyError, IndexError, TypeError):
                break
        return line + 1, column + 1


def read(path: Path) -> Document:
    """Read a file. Raises UsageError when it cannot be read, SourceError when it is no YAML."""
    try:
        if path.stat().st_size > _BYTES_MAX:
            raise UsageError(f"{path} is larger than {_BYTES_MAX // 1_000_000} MB: that is no experiment")
        return parse(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SourceError("the file is not UTF-8", file=str(path), expected="text in UTF-8") from error


def parse(text: str, file: str) -> Document:
    """Parse a text. Raises SourceError when it is no YAML, or not one mapping."""
    loader = YAML(typ="rt")
    try:
        tree = loader.load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (None, None)
        raise SourceError(str(error.problem), file=file, line=line, column=column, expected="YAML 1.2") from error
    except (YAMLError, ValueError) as error:
        raise SourceError(str(error).splitlines()[0], file=file, expected="YAML 1.2") from error
    if not isinstance(tree, CommentedMap):
        raise SourceError("not a mapping", file=file, line=1, expected="`chaosd: 1` and further keys")
    return Document(file, tree, _plain(tree))


def _plain(node: Any) -> Any:
    if isinstance(node, CommentedMap):
        return {str(key): _plain(value) for key, value in node.items()}
    if isinstance(node, CommentedSeq):
        return [_plain(item) for item in node]
    # Scalars of the loader are subclasses that remember how they were written.
    for kind in (bool, int, float, str):
        if isinstance(node, kind):
            return kind(node)
    return node


def _path(place: Place) -> str:
    text = ""
    for part in place:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
