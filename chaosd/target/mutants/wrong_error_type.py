"""Calls poison transient in its SYSTEM_ERROR, so that somebody would send it again for ever."""

from __future__ import annotations

import sys

from chaosd.envelope.kinds import ErrorType
from chaosd.target.reference.app import Build, main
from chaosd.target.reference.dlq import DeadLetters


class WrongErrorType(DeadLetters):
    """The reference's dead letters under another error type."""

    error_type = ErrorType.TRANSIENT


BUILD = Build(dead_letters=WrongErrorType)

if __name__ == "__main__":
    sys.exit(main(BUILD))
