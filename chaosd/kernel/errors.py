"""The errors a person can meet, and the exit codes they end in.

ChaosdError                 a one-line message and, where there is one, the remedy
├── UsageError              the user asked for something that cannot be            exit 2
│   └── SourceError         … in a file: line, path, expected, found, nearest      exit 2
├── StackError              a real part could not be had, started or reached       exit 2
├── JournalError            run data cannot be read or written                     exit 2
├── PreflightError          the preflight found what would break the run           exit 4
├── RunAborted              interrupted: Ctrl-C, a guard, a dead process of chaosd exit 5
└── HealError               something stayed broken                                exit 6
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from enum import IntEnum


class Exit(IntEnum):
    """Exit codes, as documented for CI (docs/exit-codes.md)."""

    PASS = 0
    FAIL = 1
    USAGE = 2
    INCONCLUSIVE = 3
    PREFLIGHT = 4
    ABORTED = 5
    UNHEALED = 6


_SEVERITY = (Exit.PASS, Exit.INCONCLUSIVE, Exit.FAIL, Exit.PREFLIGHT, Exit.USAGE, Exit.ABORTED, Exit.UNHEALED)


def worst(codes: Iterable[Exit]) -> Exit:
    """Of several runs the one that matters: 6 > 5 > 2 > 4 > 1 > 3 > 0."""
    return max(codes, key=_SEVERITY.index, default=Exit.PASS)


class ChaosdError(Exception):
    """Base of all errors that are shown without a traceback.

    `message` is one line that says what is wrong, `remedy` what to do about it, `detail` further lines
    (the tail of a log, say).
    """

    exit_code: Exit = Exit.USAGE

    def __init__(self, message: str, *, remedy: str = "", detail: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.detail = detail

    def __str__(self) -> str:
        lines = [self.message]
        if self.detail:
            lines.extend("  | " + line for line in self.detail.rstrip().splitlines())
        if self.remedy:
            lines.append(f"  remedy: {self.remedy}")
        return "\n".join(lines)


class UsageError(ChaosdError):
    """The user asked for something that cannot be."""


class SourceError(UsageError):
    """Something in a user's file is not as it must be.

    `line` and `column` count from 1; `path` is the place inside the document ("timeline[0].latency").
    """

    def __init__(
        self,
        problem: str,
        *,
        file: str,
        line: int | None = None,
        column: int | None = None,
        path: str = "",
        expected: str = "",
        found: str = "",
        nearest: str | None = None,
        remedy: str = "",
    ) -> None:
        self.problem = problem
        self.file = file
        self.line = line
        self.column = column
        self.path = path
        self.expected = expected
        self.found = found
        self.nearest = nearest
        self.others: tuple[SourceError, ...] = ()
        place = ":".join([file, *(str(n) for n in (line, column) if n is not None)])
        text = f"{place}: {path + ': ' if path else ''}{problem}"
        if found:
            text += f"; found {found}"
        if expected:
            text += f"; expected {expected}"
        if nearest:
            text += f"; did you mean {nearest!r}?"
        super().__init__(text, remedy=remedy)

    def with_others(self, others: Sequence[SourceError]) -> SourceError:
        """This error with further ones of the same file: one line each in the message, and kept in `others`."""
        self.others = (*self.others, *others)
        self.message = "\n".join([self.message, *(other.message for other in others)])
        return self


class StackError(ChaosdError):
    """A real part could not be installed, started or reached."""


class JournalError(ChaosdError):
    """Run data cannot be read or written."""


class PreflightError(ChaosdError):
    """The preflight found what would break the run."""

    exit_code = Exit.PREFLIGHT


class RunAborted(ChaosdError):
    """A run was ended before its end."""

    exit_code = Exit.ABORTED


class HealError(ChaosdError):
    """Something that chaosd broke could not be mended."""

    exit_code = Exit.UNHEALED


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name most like `name`, or None when nothing is near."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return found[0] if found else None
